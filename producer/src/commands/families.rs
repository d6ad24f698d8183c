//! `producer families`: the catalogue.

use serde::Serialize;
use shared::families::{About, Family};

use crate::{failure::Failure, output};

#[derive(Debug, Serialize)]
struct Row {
    family: &'static str,
    #[serde(flatten)]
    about: &'static About,
}

/// Lists every family with its seed width, period notes and source.
pub(crate) fn families(json: bool) -> Result<(), Failure> {
    let all = Family::ALL.iter().map(|family| family.about());
    if json {
        let rows: Vec<Row> = all.map(|about| Row { family: about.name, about }).collect();
        return output::json(&rows);
    }
    let mut text = String::new();
    for about in all {
        let About { name, seed_bits, output_bits, definition, period, source } = about;
        text += &format!(
            "{name}\n    seed    u{seed_bits}, outputs of {output_bits} bits\n    is      \
             {definition}\n    period  {period}\n    source  {source}\n"
        );
    }
    output::text(text)
}
