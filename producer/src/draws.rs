//! The draws file: observed values in the file's order, optionally by session.

use std::path::Path;

use crate::rows::{self, Rows, RowsError, Wanted, shortened};

/// The most bytes a draws file may have.
pub const MAX_BYTES: u64 = 64 << 20;
/// The most draws a file may have.
pub const MAX_DRAWS: usize = 10_000_000;

const DRAWS: Wanted = Wanted {
    what: "draw",
    flag: "--draws",
    key: "draw",
    preferred: Some("full_state"),
    max_bytes: MAX_BYTES,
    max_rows: MAX_DRAWS,
};

/// A draws file that can't be used, or a filter that leaves nothing of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DrawsError {
    /// The file itself.
    #[error(transparent)]
    File(#[from] RowsError),
    /// A filter that names nothing.
    #[error("--sessions names no session: write their names, separated by commas")]
    NoSessionNamed,
    /// A filter for a file without sessions.
    #[error("--sessions can't filter '{file}': its draws have no session; leave --sessions out")]
    NoSessions {
        /// The file.
        file: String,
    },
    /// A session that no draw has.
    #[error("no draw of '{file}' has the session '{session}'; there are: {known}")]
    UnknownSession {
        /// The file.
        file: String,
        /// What was asked for.
        session: String,
        /// Those there are, separated by commas.
        known: String,
    },
}

/// Reads a draws file, and keeps the draws of `sessions` (names separated by commas) where that
/// is given. The file's order is kept.
///
/// # Errors
/// [`DrawsError`] with the file, the place and what to do.
pub fn read(path: &Path, sessions: Option<&str>) -> Result<Vec<u64>, DrawsError> {
    let rows = rows::read(path, DRAWS)?;
    let Some(sessions) = sessions else { return Ok(rows.values) };
    let file = path.display().to_string();
    let mut wanted = Vec::new();
    for session in sessions.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let index = rows.session_names.iter().position(|name| name == session);
        wanted.push(index.ok_or_else(|| no_such_session(&rows, &file, session))?);
    }
    if wanted.is_empty() {
        return Err(DrawsError::NoSessionNamed);
    }
    let kept = rows
        .values
        .iter()
        .zip(&rows.sessions)
        .filter(|(_, session)| session.is_some_and(|index| wanted.contains(&(index as usize))));
    Ok(kept.map(|(&value, _)| value).collect())
}

fn no_such_session(rows: &Rows, file: &str, session: &str) -> DrawsError {
    if rows.session_names.is_empty() {
        return DrawsError::NoSessions { file: file.to_owned() };
    }
    // A file whose sessions are all different should not fill the screen.
    let names = rows.session_names.iter().take(20);
    let mut known = names.map(|name| shortened(name)).collect::<Vec<_>>().join(", ");
    if rows.session_names.len() > 20 {
        known.push_str(", …");
    }
    DrawsError::UnknownSession { file: file.to_owned(), session: shortened(session), known }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn sessions_filter_and_keep_the_order() {
        let file = file("draw,session\n1,noon\n2,evening\n3,\n4,night\n5,evening\n");
        let read = |sessions| read(file.path(), sessions);
        assert_eq!(read(None).unwrap(), [1, 2, 3, 4, 5]);
        assert_eq!(read(Some("evening")).unwrap(), [2, 5]);
        assert_eq!(read(Some(" night , evening ")).unwrap(), [2, 4, 5]);
        let unknown = read(Some("evening,morning")).unwrap_err().to_string();
        assert!(unknown.contains("'morning'") && unknown.contains("noon, evening, night"));
        assert!(matches!(read(Some(" ,")), Err(DrawsError::NoSessionNamed)));
    }

    #[test]
    fn a_file_without_sessions_says_so() {
        let file = file("1\n2\n");
        let message = read(file.path(), Some("noon")).unwrap_err().to_string();
        assert!(message.contains("have no session"), "{message}");
    }

    #[test]
    fn the_real_draws_are_read() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/nj_pick3.json");
        if !path.exists() {
            println!("skipped: {} is not here", path.display());
            return;
        }
        let draws = read(&path, None).unwrap();
        assert_eq!(draws[..3], [810, 156, 140]);
        assert!(read(&path, Some("evening")).unwrap().len() <= draws.len());
    }
}
