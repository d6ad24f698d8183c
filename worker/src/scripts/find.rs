//! Finding a script in the configured folders, and the interpreter on the path.

use std::{
    env,
    path::{Path, PathBuf},
};

use shared::script::check_path;

/// A script that this node can't run.
#[derive(Debug, thiserror::Error)]
pub(super) enum FindError {
    /// No folder is configured.
    #[error("this node runs no scripts: [scripts] folders is empty in its settings")]
    NoFolders,
    /// A name that could leave the folders.
    #[error(transparent)]
    Name(#[from] shared::script::InvalidPath),
    /// A link that leads out of its folder.
    #[error("the script '{name}' in {} leads out of that folder, to {}", folder.display(), to.display())]
    LeadsOut {
        /// The script.
        name: String,
        /// The folder.
        folder: PathBuf,
        /// Where it leads.
        to: PathBuf,
    },
    /// It is in none of them.
    #[error("none of this node's script folders ({folders}) has '{name}'")]
    Missing {
        /// The script.
        name: String,
        /// The folders.
        folders: String,
    },
    /// There is no interpreter.
    #[error("this node has no '{0}' to run scripts with: [scripts] python names the interpreter")]
    NoPython(String),
}

/// The file of a script: the first of the folders that has it. Links are followed inside their
/// folder alone.
pub(super) fn script(folders: &[PathBuf], name: &str) -> Result<PathBuf, FindError> {
    check_path("script", name)?;
    if folders.is_empty() {
        return Err(FindError::NoFolders);
    }
    for folder in folders {
        let Ok(root) = folder.canonicalize() else { continue };
        let Ok(path) = root.join(name).canonicalize() else { continue };
        if !path.starts_with(&root) {
            let (name, folder) = (name.to_owned(), folder.clone());
            return Err(FindError::LeadsOut { name, folder, to: path });
        }
        if path.is_file() {
            return Ok(path);
        }
    }
    let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    Err(FindError::Missing { name: name.to_owned(), folders: folders.join(", ") })
}

/// The interpreter: a path as it is, a name wherever the path of this worker has it.
pub(super) fn python(named: &str) -> Result<PathBuf, FindError> {
    let missing = || FindError::NoPython(named.to_owned());
    let found = |path: &PathBuf| path.is_file();
    if named.contains('/') {
        return Some(PathBuf::from(named)).filter(found).ok_or_else(missing);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join(Path::new(named)))
        .find(found)
        .ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn scripts_are_found_in_their_folders_alone() {
        let home = tempfile::tempdir().unwrap();
        let [first, second, outside] = ["first", "second", "outside"].map(|name| {
            let folder = home.path().join(name);
            fs::create_dir_all(folder.join("sub")).unwrap();
            folder
        });
        fs::write(outside.join("secret.py"), "").unwrap();
        fs::write(second.join("a.py"), "").unwrap();
        fs::write(second.join("sub/b.py"), "").unwrap();
        symlink(second.join("a.py"), second.join("inside.py")).unwrap();
        symlink(outside.join("secret.py"), first.join("linked.py")).unwrap();
        symlink(&outside, first.join("folder")).unwrap();
        let folders = [first, second.clone(), home.path().join("missing")];
        assert_eq!(script(&folders, "a.py").unwrap(), second.join("a.py"));
        assert_eq!(script(&folders, "sub/b.py").unwrap(), second.join("sub/b.py"));
        assert_eq!(script(&folders, "inside.py").unwrap(), second.join("a.py"));
        for (name, why) in [
            ("../outside/secret.py", "path inside"),
            ("linked.py", "leads out"),
            ("folder/secret.py", "leads out"),
            ("sub", "none of"),
            ("c.py", "none of"),
        ] {
            let error = script(&folders, name).unwrap_err().to_string();
            assert!(error.contains(why), "{name}: {error}");
        }
        assert!(matches!(script(&[], "a.py"), Err(FindError::NoFolders)));
        assert!(python("no-such-python").is_err() && python("/no/such/python").is_err());
        assert!(python("sh").is_ok());
    }
}
