//! `producer config show`: every effective value and where it came from.

use serde::Serialize;

use crate::{context::Context, failure::Failure, output};

#[derive(Debug, Serialize)]
struct Row {
    key: String,
    value: serde_json::Value,
    origin: String,
}

/// Prints the settings in force; secrets are hidden.
pub(crate) fn config_show(context: &Context, json: bool) -> Result<(), Failure> {
    let mut rows: Vec<Row> = Vec::new();
    for (key, value, origin) in context.layers.show() {
        rows.push(Row { key, value: serde_json::to_value(value)?, origin });
    }
    rows.push(Row {
        key: "home".to_owned(),
        value: context.home.display().to_string().into(),
        origin: if std::env::var_os(shared::settings::ENV_HOME).is_some() {
            shared::settings::ENV_HOME.to_owned()
        } else {
            "default".to_owned()
        },
    });
    if json {
        return output::json(&rows);
    }
    let rows: Vec<[String; 3]> =
        rows.into_iter().map(|row| [row.key, row.value.to_string(), row.origin]).collect();
    output::text(output::table(["setting", "value", "from"], &rows))
}
