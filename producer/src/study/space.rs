//! Search spaces: which parameters a model has and where they lie.

use std::{fs, path::Path};

use serde_json::{Map, Value};

use super::request::Kind;
use crate::failure::Failure;

/// The spaces that RigQueue comes with, for the scripts that it comes with.
const DEFAULT: &str = include_str!("spaces.json");

/// The search spaces of `models`, by model: from `file`, else those that RigQueue comes with.
///
/// # Errors
/// [`Failure`] when the file can't be read, lacks a model, or holds an entry that is no space.
pub(crate) fn read(
    kind: Kind,
    models: &[String],
    file: Option<&Path>,
) -> Result<Map<String, Value>, Failure> {
    let (text, origin) = match file {
        Some(path) => {
            let read = fs::read_to_string(path).map_err(|error| {
                Failure::usage(format!("the space {} can't be read: {error}", path.display()))
            })?;
            (read, path.display().to_string())
        }
        None => (DEFAULT.to_owned(), "the default search space".to_owned()),
    };
    let all: Value = serde_json::from_str(&text)
        .map_err(|error| Failure::usage(format!("{origin} is no JSON: {error}")))?;
    let mut spaces = Map::new();
    for model in models {
        if spaces.contains_key(model) {
            return Err(Failure::usage(format!("the model '{model}' is there twice")));
        }
        // A file may hold the models alone, or the kinds of study with the models in them.
        let found =
            all.get(kind.name()).and_then(|kind| kind.get(model)).or_else(|| all.get(model));
        let Some(space) = found.and_then(Value::as_object) else {
            return Err(Failure::usage(format!("{origin} has no search space for '{model}'")));
        };
        for (name, entry) in space {
            check(entry).map_err(|why| {
                Failure::usage(format!("{origin}: the parameter '{name}' of '{model}' {why}"))
            })?;
        }
        spaces.insert(model.clone(), Value::Object(space.clone()));
    }
    Ok(spaces)
}

fn check(entry: &Value) -> Result<(), String> {
    let Some(entry) = entry.as_object() else { return Err("is no object".to_owned()) };
    let known = ["int", "float", "choice", "log", "step", "when"];
    if let Some(other) = entry.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(format!("has '{other}'; it may have {}", known.join(", ")));
    }
    let kinds: Vec<&str> = known[..3].iter().copied().filter(|k| entry.contains_key(*k)).collect();
    let [kind] = kinds[..] else {
        return Err("needs one of int, float and choice".to_owned());
    };
    let values = entry[kind].as_array().map(Vec::as_slice).unwrap_or_default();
    let fits = match (kind, values) {
        ("choice", values) => !values.is_empty() && values.iter().all(is_plain),
        ("int", [low, high]) => match (low.as_i64(), high.as_i64()) {
            (Some(low), Some(high)) => low <= high,
            _ => false,
        },
        (_, [low, high]) => match (low.as_f64(), high.as_f64()) {
            (Some(low), Some(high)) => low <= high,
            _ => false,
        },
        _ => false,
    };
    if !fits {
        return Err(format!(
            "has the {kind} {}; it must be [low, high], or a choice of plain values",
            entry[kind]
        ));
    }
    match entry.get("when").map(Value::as_object) {
        None => Ok(()),
        Some(Some(when)) if when.values().all(Value::is_array) => Ok(()),
        Some(_) => Err("has a 'when' that is no {\"parameter\": [values]}".to_owned()),
    }
}

/// Whether Optuna can keep it as a category.
fn is_plain(value: &Value) -> bool {
    !value.is_array() && !value.is_object()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_space_of_its_own() {
        for kind in Kind::ALL {
            let spaces = read(kind, &kind.models(), None).unwrap();
            assert_eq!(spaces.len(), kind.models().len());
            assert!(spaces.values().all(|space| !space.as_object().unwrap().is_empty()));
        }
        let none = read(Kind::Compare, &["svm".to_owned()], None).unwrap_err();
        assert!(none.message.contains("'svm'"), "{}", none.message);
    }

    #[test]
    fn entries_that_are_no_space_are_refused() {
        let refused = |text: &str| check(&serde_json::from_str(text).unwrap()).unwrap_err();
        for (bad, words) in [
            (r#"{"int": [1, 2], "float": [1, 2]}"#, "one of"),
            (r#"{"int": [2, 1]}"#, "must be"),
            (r#"{"int": [1.5, 2]}"#, "must be"),
            (r#"{"choice": [[1]]}"#, "must be"),
            (r#"{"float": [1]}"#, "must be"),
            (r#"{"float": [0, 1], "logarithmic": true}"#, "'logarithmic'"),
            (r#"{"float": [0, 1], "when": {"a": 1}}"#, "'when'"),
            ("3", "no object"),
        ] {
            let said = refused(bad);
            assert!(said.contains(words), "{bad}: {said}");
        }
        check(&serde_json::from_str(r#"{"choice": ["a", 1, null], "when": {"b": [1]}}"#).unwrap())
            .unwrap();
    }
}
