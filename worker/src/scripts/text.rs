//! What a script says on stdout: of any amount of text, the last line that says anything.

use shared::{runner::Progress, script::MAX_RESULT};

use crate::output::Stdout;

/// A stream of text, of which the last line that is not blank is kept.
#[derive(Debug, Default)]
pub struct Text {
    line: Line,
    last: Option<Line>,
}

#[derive(Debug, Default)]
struct Line {
    bytes: Vec<u8>,
    /// Whether it went past [`MAX_RESULT`], and is not kept whole.
    is_long: bool,
}

impl Line {
    fn extend(&mut self, bytes: &[u8]) {
        let room = MAX_RESULT.saturating_sub(self.bytes.len());
        self.is_long |= bytes.len() > room;
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn is_blank(&self) -> bool {
        !self.is_long && self.bytes.trim_ascii().is_empty()
    }
}

/// The last line of a script that says anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LastLine {
    /// It said nothing.
    None,
    /// A line longer than a result may be.
    TooLong,
    /// That line, without the blanks around it.
    Line(String),
}

impl Stdout for Text {
    fn take_in(&mut self, bytes: &[u8]) -> Option<Progress> {
        let mut pieces = bytes.split(|&byte| byte == b'\n');
        if let Some(first) = pieces.next() {
            self.line.extend(first);
        }
        for piece in pieces {
            let ended = std::mem::take(&mut self.line);
            if !ended.is_blank() {
                self.last = Some(ended);
            }
            self.line.extend(piece);
        }
        None
    }

    fn is_garbage(&self) -> bool {
        false
    }
}

impl Text {
    /// The last line that is not blank.
    pub(crate) fn last_line(&self) -> LastLine {
        let unended = Some(&self.line).filter(|line| !line.is_blank());
        match unended.or(self.last.as_ref()) {
            None => LastLine::None,
            Some(line) if line.is_long => LastLine::TooLong,
            Some(line) => LastLine::Line(String::from_utf8_lossy(&line.bytes).trim().to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn last_of(text: &str, piece: usize) -> LastLine {
        let mut said = Text::default();
        for piece in text.as_bytes().chunks(piece) {
            said.take_in(piece);
        }
        said.last_line()
    }

    #[test]
    fn blank_lines_and_missing_ends_do_not_matter() {
        let line = |text: &str| LastLine::Line(text.to_owned());
        assert_eq!(last_of("", 1), LastLine::None);
        assert_eq!(last_of(" \n\r\n\t\n", 2), LastLine::None);
        assert_eq!(last_of("a\n{\"b\": 1}\r\n\n  \n", 3), line("{\"b\": 1}"));
        assert_eq!(last_of("a\nb", 4), line("b"));
        let flood = "\n".repeat(3 * MAX_RESULT);
        assert_eq!(last_of(&format!("x\n{flood}"), 4096), line("x"));
        let long = "y".repeat(MAX_RESULT + 1);
        assert_eq!(last_of(&long, 4096), LastLine::TooLong);
        assert_eq!(last_of(&format!("{long}\n \n"), 4096), LastLine::TooLong);
        assert_eq!(last_of(&format!("{long}\nz\n"), 4096), line("z"));
        assert_eq!(last_of(&long[1..], 5000), line(&long[1..]));
    }

    proptest! {
        /// Cut anywhere, it is the line that the whole text says.
        #[test]
        fn the_last_line_survives_any_cut(text in "[ab \n\r]{0,80}", piece in 1usize..9) {
            let plain = text.lines().map(str::trim).rfind(|line| !line.is_empty());
            let plain = plain.map_or(LastLine::None, |line| LastLine::Line(line.to_owned()));
            prop_assert_eq!(last_of(&text, piece), plain);
        }
    }
}
