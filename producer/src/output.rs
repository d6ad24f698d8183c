//! Data on stdout, everything else on stderr; nothing panics on a closed pipe.

use std::io::{IsTerminal as _, Write as _, stderr, stdout};

use serde::Serialize;

use crate::failure::Failure;

/// Prints a value as one JSON document.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let mut out = stdout().lock();
    serde_json::to_writer(&mut out, value)?;
    writeln!(out)?;
    Ok(())
}

/// Prints lines of data.
pub(crate) fn text(lines: impl AsRef<str>) -> Result<(), Failure> {
    let mut out = stdout().lock();
    out.write_all(lines.as_ref().as_bytes())?;
    if !lines.as_ref().ends_with('\n') {
        writeln!(out)?;
    }
    Ok(out.flush()?)
}

/// Tells people something. A closed stderr is nobody's loss.
pub(crate) fn say(line: impl AsRef<str>) {
    let line = line.as_ref();
    writeln!(stderr(), "{line}").ok();
}

/// Whether somebody watches stderr.
pub(crate) fn is_watched() -> bool {
    stderr().is_terminal()
}

/// Rows as columns of equal width, the header first.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = header.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; N]| {
        let padded: Vec<String> =
            cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(header)];
    lines.extend(rows.iter().map(|row| line(std::array::from_fn(|i| row[i].as_str()))));
    lines.push(String::new());
    lines.join("\n")
}
