//! Where each value comes from: defaults, file, environment, command line.

use std::{
    env,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::Settings;
use crate::wire::one_line;

/// Environment variable: the settings file.
pub const ENV_CONFIG: &str = "RIGQUEUE_CONFIG";
/// Environment variable: the broker's URL, over the file's `broker.url`.
pub const ENV_BROKER: &str = "RIGQUEUE_BROKER";
/// Environment variable: the data folder.
pub const ENV_HOME: &str = "RIGQUEUE_HOME";
/// Environment variable: a `producer serve` to ask instead of a local ledger.
pub const ENV_SERVER: &str = "RIGQUEUE_SERVER";
/// Environment variable: the tracing filter.
pub const ENV_LOG: &str = "RIGQUEUE_LOG";
/// The log filter unless [`ENV_LOG`] says otherwise. The AMQP library logs every closed channel as
/// an error, even one that we asked about on purpose; what matters of it we say ourselves.
pub const DEFAULT_LOG: &str = "info,lapin=off";

const DEFAULTS: &str = include_str!("default.toml");
/// The most bytes of a settings file.
const MAX_BYTES: u64 = 1 << 20;

/// Settings that can't be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The file can't be read.
    #[error("the settings file {path} can't be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("the settings file {path} is not TOML: {why}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and what.
        why: String,
    },
    /// A key that does not exist, or a value of the wrong kind.
    #[error("{origin}: {why}")]
    Value {
        /// Where the value came from.
        origin: String,
        /// What is wrong.
        why: String,
    },
}

/// The layers laid over each other so far, and who set each key.
#[derive(Debug, Clone)]
pub struct Layers {
    table: Table,
    origins: Vec<(String, String)>,
    file: Option<PathBuf>,
}

impl Layers {
    /// Defaults, the file (`config`, else `RIGQUEUE_CONFIG`) and the environment.
    ///
    /// # Errors
    /// [`SettingsError`] when a file was named and can't be read, or is not TOML.
    pub fn load(config: Option<&Path>) -> Result<Self, SettingsError> {
        let table = parse(Path::new("the built-in defaults"), DEFAULTS)?;
        let mut layers = Self { table, origins: Vec::new(), file: None };
        let named = env::var_os(ENV_CONFIG).filter(|path| !path.is_empty()).map(PathBuf::from);
        if let Some(path) = config.map(Path::to_owned).or(named) {
            let text = read(&path)
                .map_err(|source| SettingsError::Unreadable { path: path.clone(), source })?;
            layers.lay(parse(&path, &text)?, &path.display().to_string());
            layers.file = Some(path);
        }
        if let Ok(url) = env::var(ENV_BROKER)
            && !url.is_empty()
        {
            layers.set("broker.url", Value::String(url), ENV_BROKER);
        }
        Ok(layers)
    }

    /// Sets one dotted key from `origin`, over everything before.
    pub fn set(&mut self, key: &str, value: Value, origin: &str) {
        let mut layer = value;
        for part in key.rsplit('.') {
            layer = Value::Table(Table::from_iter([(part.to_owned(), layer)]));
        }
        if let Value::Table(table) = layer {
            self.lay(table, origin);
        }
    }

    /// The settings file, if there is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    fn lay(&mut self, over: Table, origin: &str) {
        let mut changed = Vec::new();
        merge(&mut self.table, over, "", &mut changed);
        for key in changed {
            self.origins.retain(|(known, _)| *known != key);
            self.origins.push((key, origin.to_owned()));
        }
    }

    /// The settings in force.
    ///
    /// # Errors
    /// [`SettingsError::Value`] names the first unknown key or wrong value.
    pub fn settings(&self) -> Result<Settings, SettingsError> {
        let settings: Settings =
            self.table.clone().try_into().map_err(|error| self.wrong(&error))?;
        let planner = &settings.planner;
        let sane = |seconds: f64| seconds.is_finite() && seconds > 0.0 && seconds <= 600.0;
        if !sane(planner.target_seconds)
            || !sane(planner.min_seconds)
            || planner.min_seconds > planner.target_seconds
        {
            let why = format!(
                "planner.min_seconds is {} and planner.target_seconds {}; \
                 they must be above 0, at most 600, and in that order",
                planner.min_seconds, planner.target_seconds
            );
            return Err(SettingsError::Value { origin: self.source(), why });
        }
        for endpoint in &settings.endpoint {
            endpoint
                .validate()
                .map_err(|why| SettingsError::Value { origin: self.source(), why })?;
        }
        Ok(settings)
    }

    fn wrong(&self, error: &toml::de::Error) -> SettingsError {
        let why = error.to_string().trim().replace('\n', "; ");
        SettingsError::Value { origin: self.source(), why: one_line(without_quoted(&why)) }
    }

    fn source(&self) -> String {
        self.file.as_ref().map_or_else(
            || "settings".to_owned(),
            |path| format!("the settings file {}", path.display()),
        )
    }

    /// Every effective value as (dotted key, value, origin), sorted by key; passwords in URLs and
    /// tokens are hidden.
    #[must_use]
    pub fn show(&self) -> Vec<(String, Value, String)> {
        let mut rows = Vec::new();
        flatten(&self.table, "", &mut rows);
        rows.into_iter()
            .map(|(key, value)| {
                let origin = self.origins.iter().find(|(known, _)| *known == key);
                let origin = origin.map_or("default", |(_, origin)| origin);
                let value = hide(&key, value);
                (key, value, origin.to_owned())
            })
            .collect()
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("it is larger than {} MiB", MAX_BYTES >> 20)));
    }
    Ok(text)
}

fn parse(path: &Path, text: &str) -> Result<Table, SettingsError> {
    text.parse().map_err(|error: toml::de::Error| {
        // The place, but never the line itself: there may be a password in it.
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let what = one_line(error.message());
        let why = format!("line {line}, column {column}: {what}");
        SettingsError::Syntax { path: path.to_owned(), why }
    })
}

/// A message about a value of the wrong kind, without the value: it may be a URL with a password
/// that stands in the wrong place.
fn without_quoted(message: &str) -> String {
    let quoted = message.split_once("string \"").and_then(|(before, rest)| {
        let (_, after) = rest.rsplit_once("\", expected")?;
        Some(format!("{before}a string, expected{after}"))
    });
    quoted.unwrap_or_else(|| message.to_owned())
}

fn merge(into: &mut Table, over: Table, prefix: &str, changed: &mut Vec<String>) {
    for (key, value) in over {
        let dotted = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match (into.get_mut(&key), value) {
            (Some(Value::Table(inner)), Value::Table(value)) => {
                merge(inner, value, &dotted, changed);
            }
            (_, Value::Table(value)) => {
                let mut inner = Table::new();
                merge(&mut inner, value, &dotted, changed);
                into.insert(key, Value::Table(inner));
            }
            (_, value) => {
                into.insert(key, value);
                changed.push(dotted);
            }
        }
    }
}

fn flatten(table: &Table, prefix: &str, rows: &mut Vec<(String, Value)>) {
    for (key, value) in table {
        let dotted = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(inner) => flatten(inner, &dotted, rows),
            value => rows.push((dotted, value.clone())),
        }
    }
}

fn hide(key: &str, value: Value) -> Value {
    match value {
        Value::String(text) if is_secret(key) && !text.is_empty() => {
            Value::String("***".to_owned())
        }
        Value::Array(values) => {
            Value::Array(values.into_iter().map(|value| hide(key, value)).collect())
        }
        Value::Table(table) => {
            let hidden = |(inner, value): (String, Value)| {
                let value = hide(&format!("{key}.{inner}"), value);
                (inner, value)
            };
            Value::Table(table.into_iter().map(hidden).collect())
        }
        Value::String(text) if text.contains("://") => Value::String(without_password(&text)),
        value => value,
    }
}

fn is_secret(key: &str) -> bool {
    key == "token" || key.ends_with(".token")
}

/// Whether a URL carries a password, which nobody but its owner should see.
#[must_use]
pub fn has_password(url: &str) -> bool {
    without_password(url) != url
}

/// A URL with its password, if it has one, replaced by `***`.
#[must_use]
pub(crate) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    match authority.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((name, _)) => format!("{scheme}://{name}:***@{host}{path}"),
            None => url.to_owned(),
        },
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::settings::{Seconds, Slots};

    fn file(text: &str) -> (tempfile::NamedTempFile, Result<Layers, SettingsError>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        let layers = Layers::load(Some(file.path()));
        (file, layers)
    }

    #[test]
    fn each_layer_covers_the_one_below_and_is_named() {
        let (path, layers) =
            file("[worker]\nslots = 3\ngrace = \"1.5s\"\n[planner]\nmin_seconds=1.0");
        let mut layers = layers.unwrap();
        layers.set("worker.slots", Value::Integer(5), "--slots");
        let settings = layers.settings().unwrap();
        assert_eq!(settings.worker.slots, Slots::Count(5));
        assert_eq!(settings.worker.grace, Seconds(1.5));
        assert_eq!(settings.worker.max_jobs, 26);
        let origin = |key: &str| layers.show().into_iter().find(|row| row.0 == key).unwrap().2;
        assert_eq!(origin("worker.slots"), "--slots");
        assert_eq!(origin("worker.grace"), path.path().display().to_string());
        assert_eq!(origin("worker.max_jobs"), "default");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("[worker]\nslotz = 3", "slotz"),
            ("[worker]\nslots = 0", "slots is 0"),
            ("[worker]\ngrace = \"soon\"", "'soon' is no time"),
            ("[planner]\ntarget_seconds = 1.0", "target_seconds 1"),
            ("[arch.gpu]\nenv = {}", "gpu"),
            ("[[endpoint]]\nurl = \"rig7:8000\"", "endpoint.url"),
        ] {
            let error = file(text).1.unwrap().settings().unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains('\n'), "{text}: {error}");
        }
        let error = file("[worker").1.unwrap_err().to_string();
        assert!(error.contains("is not TOML") && !error.contains('\n'), "{error}");
        let error = file("a = 1\nb = 2 3").1.unwrap_err().to_string();
        assert!(error.contains("line 2, column 5"), "{error}");
        let error = file(&"#".repeat((1 << 20) + 1)).1.unwrap_err().to_string();
        assert!(error.contains("larger than 1 MiB"), "{error}");
    }

    #[test]
    fn what_is_wrong_never_shows_a_password() {
        for text in [
            "[broker]\nurl = \"amqp://u:hunter2@h/v\" x",
            "[broker]\nurl = \"amqp://u:hunter2@h/v",
            "broker = \"amqp://u:hunter2@h/v\"",
            "[planner]\nmin_seconds = \"amqp://u:hunter2@h/v\"",
            "[worker]\nmax_jobs = \"hunter2\"",
        ] {
            let error = file(text).1.and_then(|layers| layers.settings()).unwrap_err().to_string();
            assert!(!error.contains("hunter2") && !error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let mut layers = file("").1.unwrap();
        layers.set("broker.url", Value::String("amqp://u:p@ss@h:1/v".to_owned()), "test");
        let shown = format!("{:?}", layers.show());
        assert!(shown.contains("amqp://u:***@h:1/v") && !shown.contains("p@ss"), "{shown}");
        let text =
            "[serve]\ntoken = \"s3cret\"\n[[endpoint]]\nurl = \"https://x/\"\ntoken = \"s3cret\"";
        let shown = format!("{:?}", file(text).1.unwrap().show());
        assert!(shown.contains("https://x/") && !shown.contains("s3cret"), "{shown}");
    }
}
