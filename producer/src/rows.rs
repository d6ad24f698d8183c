//! Reads one column of non-negative integers from a file of JSON, CSV or plain lines.
//!
//! Draws and candidates come in the same shapes: a JSON array of integers or of objects, a CSV
//! with a header, or one integer per line. The shape is told by the content, never by the name.

use std::{
    collections::HashMap,
    fs::File,
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
};

use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::Value;
use shared::wire::one_line;

/// What is looked for in a file.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// What one value is called: `draw`, `seed`.
    pub what: &'static str,
    /// The option that names the file, for messages.
    pub flag: &'static str,
    /// The object key or CSV column that must be there.
    pub key: &'static str,
    /// A key or column whose value goes before that of `key` where it is there and not null.
    pub preferred: Option<&'static str>,
    /// The most bytes a file may have.
    pub max_bytes: u64,
    /// The most values a file may have.
    pub max_rows: usize,
}

/// The values of a file, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    /// The values.
    pub values: Vec<u64>,
    /// Beside each value its session, as an index into `session_names`.
    pub sessions: Vec<Option<u32>>,
    /// The sessions that occur, in the order of their first row.
    pub session_names: Vec<String>,
}

/// A file that can't be used, with the place and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RowsError {
    /// Nothing is there.
    #[error("the {what}s file '{path}' does not exist: give the right path to {flag}", path = path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// The option.
        flag: &'static str,
    },
    /// It can't be opened or read.
    #[error("the {what}s file '{path}' can't be read: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// It has too many bytes.
    #[error(
        "the {what}s file '{path}' is larger than {} MiB: give only what is needed to {flag}",
        limit >> 20, path = path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// The option.
        flag: &'static str,
        /// The most bytes.
        limit: u64,
    },
    /// It has too many values.
    #[error(
        "the {what}s file '{path}' has more than {limit} {what}s: give only what is needed to {flag}",
        path = path.display()
    )]
    TooMany {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// The option.
        flag: &'static str,
        /// The most values.
        limit: usize,
    },
    /// It is not text.
    #[error("the {what}s file '{path}' is not UTF-8 text: line {line} has other bytes", path = path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// The line of the first such byte, from 1.
        line: usize,
    },
    /// It holds no value at all.
    #[error(
        "the {what}s file '{path}' holds no {what}s: it must be a JSON array, a CSV with a \
         '{key}' column or one integer per line", path = path.display()
    )]
    NoRows {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// The key.
        key: &'static str,
    },
    /// It starts like JSON and is none, or no array.
    #[error("the {what}s file '{path}' is no JSON array of {what}s: {}", one_line(source), path = path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// What the parser says, with line and column.
        source: serde_json::Error,
    },
    /// Its first line is neither a number nor a header with the column.
    #[error(
        "the {what}s file '{path}' has no '{key}' column: line {line} reads '{found}'; name the \
         column in a header, or write one integer per line", path = path.display()
    )]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// The key.
        key: &'static str,
        /// The line, from 1.
        line: usize,
        /// What it says.
        found: String,
    },
    /// A value that is no non-negative integer.
    #[error(
        "the {what}s file '{path}', {place}: {problem}; a {what} is an integer from 0 to 2^64-1, \
         so correct or remove it", path = path.display()
    )]
    Value {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// `line 7` or `entry 7`, both from 1.
        place: String,
        /// What is there and why that won't do.
        problem: String,
    },
}

/// Reads a file.
///
/// # Errors
/// [`RowsError`], each with the file, the place and what to do.
pub fn read(path: &Path, wanted: Wanted) -> Result<Rows, RowsError> {
    let text = read_text(path, wanted)?;
    let parsed = parse(&text, wanted).map_err(|problem| problem.at(path, wanted))?;
    if parsed.values.is_empty() {
        let Wanted { what, key, .. } = wanted;
        return Err(RowsError::NoRows { path: path.to_owned(), what, key });
    }
    Ok(parsed)
}

fn read_text(path: &Path, wanted: Wanted) -> Result<String, RowsError> {
    let Wanted { what, flag, max_bytes: limit, .. } = wanted;
    let wrong = |source: std::io::Error| match source.kind() {
        ErrorKind::NotFound => RowsError::Missing { path: path.to_owned(), what, flag },
        _ => RowsError::Unreadable { path: path.to_owned(), what, source },
    };
    let mut bytes = Vec::new();
    // One byte past the limit tells a file that is too large from one that just fits, also for
    // a pipe, which has no length.
    File::open(path).map_err(wrong)?.take(limit + 1).read_to_end(&mut bytes).map_err(wrong)?;
    if bytes.len() as u64 > limit {
        return Err(RowsError::TooLarge { path: path.to_owned(), what, flag, limit });
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        RowsError::NotUtf8 { path: path.to_owned(), what, line }
    })
}

/// What is wrong, before it is known in which file.
#[derive(Debug)]
enum Problem {
    Json(serde_json::Error),
    NoColumn { line: usize, found: String },
    Value { place: String, problem: String },
    TooMany,
}

impl Problem {
    fn at(self, path: &Path, wanted: Wanted) -> RowsError {
        let path = path.to_owned();
        let Wanted { what, key, flag, max_rows: limit, .. } = wanted;
        match self {
            Self::Json(source) => RowsError::Json { path, what, source },
            Self::NoColumn { line, found } => RowsError::NoColumn { path, what, key, line, found },
            Self::Value { place, problem } => RowsError::Value { path, what, place, problem },
            Self::TooMany => RowsError::TooMany { path, what, flag, limit },
        }
    }
}

fn parse(text: &str, wanted: Wanted) -> Result<Rows, Problem> {
    // Spreadsheets put a byte order mark before UTF-8.
    let text = text.trim_start_matches('\u{feff}');
    let collector = Collector::new(wanted);
    if text.trim_start().starts_with(['[', '{']) {
        return parse_json(text, collector);
    }
    parse_lines(text, collector)
}

/// Takes values in, interning sessions and watching the limit.
struct Collector {
    wanted: Wanted,
    rows: Rows,
    indices: HashMap<String, u32>,
}

impl Collector {
    fn new(wanted: Wanted) -> Self {
        Self { wanted, rows: Rows::default(), indices: HashMap::new() }
    }

    fn push(&mut self, value: u64, session: Option<&str>) -> Result<(), Problem> {
        if self.rows.values.len() >= self.wanted.max_rows {
            return Err(Problem::TooMany);
        }
        let index = session.map(str::trim).filter(|name| !name.is_empty()).map(|name| {
            if let Some(&index) = self.indices.get(name) {
                return index;
            }
            let index = u32::try_from(self.rows.session_names.len()).unwrap_or(u32::MAX);
            self.indices.insert(name.to_owned(), index);
            self.rows.session_names.push(name.to_owned());
            index
        });
        self.rows.values.push(value);
        self.rows.sessions.push(index);
        Ok(())
    }
}

fn parse_json(text: &str, mut collector: Collector) -> Result<Rows, Problem> {
    let mut problem = None;
    let mut json = serde_json::Deserializer::from_str(text);
    let reader = JsonRows { collector: &mut collector, problem: &mut problem };
    let result = reader.deserialize(&mut json).and_then(|()| json.end());
    match (problem, result) {
        (Some(problem), _) => Err(problem),
        (None, Err(error)) => Err(Problem::Json(error)),
        (None, Ok(())) => Ok(collector.rows),
    }
}

/// Reads an array entry by entry, so that a large file never stands in memory as a whole tree.
struct JsonRows<'a> {
    collector: &'a mut Collector,
    problem: &'a mut Option<Problem>,
}

impl<'de> DeserializeSeed<'de> for JsonRows<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for JsonRows<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of integers or of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(entry) = entries.next_element::<Value>()? {
            let number = self.collector.rows.values.len() + 1;
            if let Err(problem) = take_entry(self.collector, number, &entry) {
                *self.problem = Some(problem);
                return Err(A::Error::custom("an entry was refused"));
            }
        }
        Ok(())
    }
}

fn take_entry(collector: &mut Collector, number: usize, entry: &Value) -> Result<(), Problem> {
    let Wanted { what, key, preferred, .. } = collector.wanted;
    let refuse = |problem| Problem::Value { place: format!("entry {number}"), problem };
    let Value::Object(fields) = entry else {
        let value = json_integer(entry).map_err(|why| refuse(format!("the {what} {why}")))?;
        return collector.push(value, None);
    };
    let chosen = preferred
        .and_then(|name| fields.get_key_value(name))
        .filter(|(_, value)| !value.is_null())
        .or_else(|| fields.get_key_value(key));
    let Some((name, value)) = chosen else {
        return Err(refuse(format!("there is no '{key}'")));
    };
    let value = json_integer(value).map_err(|why| refuse(format!("'{name}' {why}")))?;
    let session = fields.get("session").filter(|session| !session.is_null());
    let session = session.map(|session| match session {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    collector.push(value, session.as_deref())
}

fn json_integer(value: &Value) -> Result<u64, String> {
    match value {
        Value::Number(number) => number.as_u64().map_or_else(
            || match (number.as_i64(), number.as_f64()) {
                (None, Some(float)) => float_integer(float, &number.to_string()),
                _ => Err(format!("is negative ({number})")),
            },
            Ok,
        ),
        Value::String(text) => Err(format!("is the text \"{}\", not a number", shortened(text))),
        other => Err(format!("is {}, not a number", shortened(&other.to_string()))),
    }
}

/// Spreadsheets and data frames write integers as `810.0`: taken where that is exact.
fn float_integer(float: f64, written: &str) -> Result<u64, String> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if !float.is_finite() {
        Err(format!("is '{written}', not a number"))
    } else if float < 0.0 {
        Err(format!("is negative ({written})"))
    } else if float.fract() != 0.0 {
        Err(format!("is fractional ({written})"))
    } else if float <= EXACT {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "just checked")]
        Ok(float as u64)
    } else {
        Err(format!("is too large or not written as an integer ({written})"))
    }
}

fn text_integer(text: &str) -> Result<u64, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    let digits = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
    match (text.parse(), text.parse()) {
        (Ok(value), _) => Ok(value),
        (_, Ok(float)) if text.chars().all(digits) => float_integer(float, &shortened(text)),
        _ => Err(format!("is '{}', not a number", shortened(text))),
    }
}

/// At most 40 characters of a text, none of which moves a terminal's cursor.
pub(crate) fn shortened(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    if text.chars().nth(40).is_none() {
        return text.chars().map(plain).collect();
    }
    text.chars().take(39).map(plain).chain(['…']).collect()
}

fn parse_lines(text: &str, mut collector: Collector) -> Result<Rows, Problem> {
    let Wanted { what, .. } = collector.wanted;
    let mut lines = text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .peekable();
    let Some(&(line, first)) = lines.peek() else { return Ok(collector.rows) };
    let header = Header::of(first, collector.wanted);
    if header.is_some() {
        lines.next();
    } else if !first.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Err(Problem::NoColumn { line, found: shortened(first) });
    }
    for (line, row) in lines {
        let refuse = |problem| Problem::Value { place: format!("line {line}"), problem };
        if let Some(header) = &header {
            let cells = split_csv(row);
            let (name, cell) = header.choose(&cells);
            let value = text_integer(cell).map_err(|why| refuse(format!("'{name}' {why}")))?;
            let session = header.session.and_then(|index| cells.get(index));
            collector.push(value, session.map(String::as_str))?;
        } else {
            let value = text_integer(row).map_err(|why| refuse(format!("the {what} {why}")))?;
            collector.push(value, None)?;
        }
    }
    Ok(collector.rows)
}

/// Where a CSV's columns are.
struct Header {
    key: (&'static str, usize),
    preferred: Option<(&'static str, usize)>,
    session: Option<usize>,
}

impl Header {
    /// The columns named by `line`, when one of them is the one that must be there (or goes
    /// before it).
    fn of(line: &str, wanted: Wanted) -> Option<Self> {
        let cells = split_csv(line);
        let find = |name: &str| cells.iter().position(|cell| cell.eq_ignore_ascii_case(name));
        let named = |name: &'static str| find(name).map(|index| (name, index));
        let preferred = wanted.preferred.and_then(named);
        let key = named(wanted.key).or(preferred)?;
        Some(Self { key, preferred, session: find("session") })
    }

    /// The cell that counts, with its column's name; an absent one reads as empty.
    fn choose<'c>(&self, cells: &'c [String]) -> (&'static str, &'c str) {
        let cell = |(name, index): (&'static str, usize)| {
            (name, cells.get(index).map_or("", String::as_str))
        };
        let preferred = self.preferred.map(cell).filter(|(_, text)| !text.is_empty());
        preferred.unwrap_or_else(|| cell(self.key))
    }
}

/// The cells of one CSV line (RFC 4180: quotes may enclose a cell, doubled ones stand for one),
/// trimmed. A cell does not go on in the next line.
fn split_csv(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, cells.last_mut()) {
            ('"', Some(cell)) if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            ('"', _) => quoted = !quoted,
            (',', _) if !quoted => cells.push(String::new()),
            (c, Some(cell)) => cell.push(c),
            (_, None) => {}
        }
    }
    cells.iter().map(|cell| cell.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: Wanted = Wanted {
        what: "draw",
        flag: "--draws",
        key: "draw",
        preferred: Some("full_state"),
        max_bytes: 1000,
        max_rows: 5,
    };

    fn read_bytes(bytes: &[u8]) -> Result<Rows, RowsError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        read(file.path(), DRAWS)
    }

    fn values(text: &str) -> Vec<u64> {
        read_bytes(text.as_bytes()).unwrap().values
    }

    fn refusal(text: &str) -> String {
        let message = read_bytes(text.as_bytes()).unwrap_err().to_string();
        assert!(!message.contains('\n'), "{message}");
        message
    }

    #[test]
    fn every_shape_is_told_by_its_content() {
        assert_eq!(values(" [1, 2,18446744073709551615]"), [1, 2, u64::MAX]);
        assert_eq!(
            values(
                r#"[{"draw": 1, "date": "x", "more": {"a": [1]}}, {"draw": 2, "full_state": 77},
                {"draw": 3, "full_state": null}, 4]"#
            ),
            [1, 77, 3, 4]
        );
        assert_eq!(values("# a comment\n\n 7 \r\n8\n9.0\n"), [7, 8, 9]);
        assert_eq!(values("\u{feff}date,DRAW\n\"May 1, 1975\",7\n2,8\n"), [7, 8]);
        assert_eq!(values("Draw,Full_State\n7,99\n8,\n"), [99, 8]);
        assert_eq!(values("draw\n5"), [5]);
    }

    #[test]
    fn sessions_are_kept_beside_their_rows() {
        let json = r#"[{"draw": 1, "session": "noon"}, {"draw": 2, "session": "evening"},
            {"draw": 3}, {"draw": 4, "session": "noon"}]"#;
        let csv = "session,draw\nnoon,1\nevening,2\n,3\nnoon,4\n";
        for rows in [json, csv].map(|text| read_bytes(text.as_bytes()).unwrap()) {
            assert_eq!(rows.session_names, ["noon", "evening"]);
            assert_eq!(rows.sessions, [Some(0), Some(1), None, Some(0)]);
        }
    }

    #[test]
    fn what_is_no_draw_is_named_with_its_place() {
        for (text, parts) in [
            ("[1, null]", ["entry 2", "is null"]),
            ("[1, -2]", ["entry 2", "negative (-2)"]),
            ("[1.5]", ["entry 1", "fractional (1.5)"]),
            ("[\"12\"]", ["entry 1", "text \"12\""]),
            ("[18446744073709551616]", ["entry 1", "too large"]),
            ("[[1]]", ["entry 1", "is [1], not a number"]),
            ("[{\"draw\": null}]", ["entry 1", "'draw' is null"]),
            ("[{\"draw\": 1}, {\"date\": 2}]", ["entry 2", "no 'draw'"]),
            ("[{\"draw\": 1, \"full_state\": -1}]", ["entry 1", "'full_state' is negative"]),
            ("1\n\nx", ["line 3", "'x', not a number"]),
            ("1\n-3", ["line 2", "negative"]),
            ("1\n3.25", ["line 2", "fractional"]),
            ("1\ninf", ["line 2", "not a number"]),
            ("1,2,3", ["line 1", "'1,2,3', not a number"]),
            ("draw,a\n1,2\n,3", ["line 3", "'draw' is empty"]),
            ("a,draw\n1", ["line 2", "'draw' is empty"]),
            ("99999999999999999999", ["line 1", "too large"]),
        ] {
            let message = refusal(text);
            for part in parts {
                assert!(message.contains(part), "{text:?}: {message}");
            }
            assert!(message.contains("0 to 2^64-1"), "{message}");
        }
    }

    #[test]
    fn files_that_hold_no_draws_say_what_they_should_hold() {
        for text in ["", " \n", "# only\n", "[]", "draw\n"] {
            assert!(refusal(text).contains("holds no draws"), "{text:?}");
        }
        assert!(refusal("date,number\n1,2").contains("no 'draw' column"));
        assert!(refusal("date,number\n1,2").contains("'date,number'"));
        assert!(refusal("[1, 2").contains("line 1 column 5"), "{}", refusal("[1, 2"));
        assert!(refusal("[1,\n 2] x").contains("line 2 column 5"), "{}", refusal("[1,\n 2] x"));
        assert!(refusal("{\"draws\": [1]}").contains("expected an array"));
        assert!(refusal("[1,2,3,4,5,6]").contains("more than 5 draws"));
        assert!(refusal(&"1\n".repeat(600)).contains("larger than"));
        let message = read_bytes(b"1\n2\n\xff\n").unwrap_err().to_string();
        assert!(message.contains("line 3"), "{message}");
    }

    #[test]
    fn a_file_that_is_not_there_and_a_folder_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let missing = read(&folder.path().join("none"), DRAWS).unwrap_err().to_string();
        assert!(missing.contains("does not exist") && missing.contains("--draws"), "{missing}");
        let unreadable = read(folder.path(), DRAWS).unwrap_err().to_string();
        assert!(unreadable.contains("can't be read"), "{unreadable}");
    }
}
