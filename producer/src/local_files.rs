//! The files on this machine that the jobs of a request read: looked at when the jobs are checked,
//! kept where workers find them just before they are published.

use std::{
    collections::{BTreeMap, btree_map},
    path::{Path, PathBuf},
};

use shared::input::Input;

use crate::{
    failure::Failure,
    job_inputs::{JobInputs, look},
};

/// Files by their path.
#[derive(Debug, Clone, Default)]
pub struct LocalFiles(BTreeMap<PathBuf, Input>);

impl LocalFiles {
    /// Files as inputs of one job, which calls each by its last name.
    ///
    /// # Errors
    /// One line that says which can't be read, or that two have one name.
    pub fn inputs(&mut self, paths: &[PathBuf]) -> Result<Vec<Input>, String> {
        let mut inputs: Vec<Input> = Vec::with_capacity(paths.len());
        for path in paths {
            let input = self.input(path)?;
            if inputs.iter().any(|other| other.name == input.name) {
                return Err(format!(
                    "two of its inputs are called '{}': rename one",
                    input.name.escape_debug()
                ));
            }
            inputs.push(input);
        }
        Ok(inputs)
    }

    fn input(&mut self, path: &Path) -> Result<Input, String> {
        let entry = match self.0.entry(path.to_owned()) {
            btree_map::Entry::Occupied(known) => return Ok(known.get().clone()),
            btree_map::Entry::Vacant(entry) => entry,
        };
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| format!("'{}' names no file", path.display()))?;
        let input = look(name, path).map_err(|failure| failure.message)?;
        input.validate().map_err(|invalid| invalid.to_string())?;
        Ok(entry.insert(input).clone())
    }

    /// Keeps all of them.
    ///
    /// # Errors
    /// [`Failure`] when one can't be kept, or has changed meanwhile.
    pub fn keep(&self, place: &JobInputs) -> Result<(), Failure> {
        for (path, looked_at) in &self.0 {
            if place.file(&looked_at.name, path)? != *looked_at {
                let why = format!("the file '{}' has changed meanwhile", path.display());
                return Err(Failure::usage(why));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_are_named_by_their_last_name_and_kept_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("d")).unwrap();
        for name in ["a.json", "b.json", "d/a.json"] {
            fs::write(path(name), name).unwrap();
        }
        let mut files = LocalFiles::default();
        let inputs = files.inputs(&[path("a.json"), path("b.json")]).unwrap();
        assert_eq!((inputs[0].name.as_str(), inputs[1].size), ("a.json", 6));
        let error = files.inputs(&[path("a.json"), path("d/a.json")]).unwrap_err();
        assert!(error.contains("called 'a.json'"), "{error}");
        for (wrong, words) in [("none", "can't be read"), ("d", "no plain file"), ("..", "names")] {
            let error = files.inputs(&[path(wrong)]).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        let place = JobInputs::of(&path("home"));
        files.keep(&place).unwrap();
        assert!(shared::blobs::Blobs::of(&path("home")).has(&inputs[0]));
        fs::write(path("b.json"), "other").unwrap();
        assert!(files.keep(&place).unwrap_err().message.contains("has changed"));
    }
}
