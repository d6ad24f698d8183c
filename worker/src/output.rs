//! What a subprocess says: on stdout frames, free text on stderr.

use shared::{
    outcome::{Failure, MAX_STDERR_TAIL, SieveResult},
    runner::{Frame, FrameError, Progress, decode_frame, frame_length},
    wire,
};

const PREFIX: usize = 4;

/// What a subprocess says on stdout, taken in as it arrives.
pub trait Stdout {
    /// Takes in bytes; returns the newest progress among them.
    fn take_in(&mut self, bytes: &[u8]) -> Option<Progress>;

    /// Whether nothing that may still come can make sense of it: the subprocess is ended.
    fn is_garbage(&self) -> bool;
}

/// A stream of frames, put together from whatever pieces arrive.
#[derive(Debug, Default)]
pub struct Frames {
    buffer: Vec<u8>,
    last: Option<Last>,
    error: Option<FrameError>,
}

/// A runner's last frame.
#[expect(clippy::large_enum_variant, reason = "one at a time: a box would save nothing")]
#[derive(Debug, Clone, PartialEq)]
pub enum Last {
    /// [`Frame::Done`].
    Done(SieveResult),
    /// [`Frame::Rejected`].
    Rejected(String),
    /// [`Frame::Failed`].
    Failed(Failure, String),
}

impl Stdout for Frames {
    /// After an error everything else is passed over.
    fn take_in(&mut self, bytes: &[u8]) -> Option<Progress> {
        if self.error.is_some() {
            return None;
        }
        self.buffer.extend_from_slice(bytes);
        let mut newest = None;
        loop {
            match next_frame(&mut self.buffer) {
                Ok(Some(Frame::Progress(progress))) => newest = Some(progress),
                Ok(Some(Frame::Done(result))) => self.last = Some(Last::Done(result)),
                Ok(Some(Frame::Rejected(why))) => self.last = Some(Last::Rejected(why)),
                Ok(Some(Frame::Failed { failure, detail })) => {
                    self.last = Some(Last::Failed(failure, detail));
                }
                Ok(None) => return newest,
                Err(error) => {
                    self.buffer = Vec::new();
                    self.error = Some(error);
                    return newest;
                }
            }
        }
    }

    fn is_garbage(&self) -> bool {
        self.error.is_some()
    }
}

impl Frames {
    /// The last frame, or what was wrong, in one line.
    ///
    /// # Errors
    /// When the stream was garbage, ended inside a frame, or had no last frame.
    pub fn into_last(self) -> Result<Last, String> {
        match (self.error, self.last) {
            (Some(error), _) => Err(error.to_string()),
            (None, _) if !self.buffer.is_empty() => {
                Err(format!("its output ended inside a frame, {} bytes into it", self.buffer.len()))
            }
            (None, Some(last)) => Ok(last),
            (None, None) => Err("it said nothing of its result".to_owned()),
        }
    }
}

fn next_frame(buffer: &mut Vec<u8>) -> Result<Option<Frame>, FrameError> {
    let Some(&prefix) = buffer.first_chunk::<PREFIX>() else { return Ok(None) };
    let end = PREFIX + frame_length(prefix)?;
    let Some(body) = buffer.get(PREFIX..end) else { return Ok(None) };
    let frame = decode_frame(body)?;
    buffer.drain(..end);
    Ok(Some(frame))
}

/// The end of a stream of text, at most [`MAX_STDERR_TAIL`] bytes.
#[derive(Debug, Default)]
pub struct Tail(Vec<u8>);

impl Tail {
    /// Takes in bytes.
    pub fn take_in(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        // Cut only now and then, so that a flood is not moved once for each of its bytes.
        if self.0.len() > 2 * MAX_STDERR_TAIL {
            self.0.drain(..self.0.len() - MAX_STDERR_TAIL);
        }
    }

    /// The end of it as text; what is no UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        let tail = &self.0[self.0.len().saturating_sub(MAX_STDERR_TAIL)..];
        let text = String::from_utf8_lossy(tail);
        // Replacement characters are longer than what they replace.
        let from = text.ceil_char_boundary(text.len().saturating_sub(MAX_STDERR_TAIL));
        text[from..].to_owned()
    }
}

/// The last line of a text that says anything, for a one-line message.
#[must_use]
pub fn last_line(text: &str) -> String {
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
    let mut line: String = line.unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
    wire::truncate(&mut line, 300);
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::runner::write_frame;

    use super::*;

    proptest! {
        /// Cut anywhere, the same frames come out.
        #[test]
        fn frames_survive_any_cut(tested in prop::collection::vec(any::<u64>(), 0..20), piece in 1usize..40) {
            let mut bytes = Vec::new();
            for &tested in &tested {
                write_frame(&mut bytes, &Frame::Progress(Progress { tested, survivors: 0 })).unwrap();
            }
            write_frame(&mut bytes, &Frame::Rejected("why".to_owned())).unwrap();
            let mut frames = Frames::default();
            let mut newest = None;
            for piece in bytes.chunks(piece) {
                newest = frames.take_in(piece).or(newest);
            }
            prop_assert_eq!(newest.map(|progress| progress.tested), tested.last().copied());
            prop_assert_eq!(frames.into_last(), Ok(Last::Rejected("why".to_owned())));
        }

        /// The tail is what the whole text ends in.
        #[test]
        fn the_tail_is_the_end(pieces in prop::collection::vec(0usize..9000, 0..12)) {
            let mut whole = String::new();
            let mut tail = Tail::default();
            for (index, length) in pieces.into_iter().enumerate() {
                let piece: String = (0..length).map(|i| char::from(b'a' + ((i + index) % 26) as u8)).collect();
                tail.take_in(piece.as_bytes());
                whole.push_str(&piece);
            }
            let from = whole.len().saturating_sub(MAX_STDERR_TAIL);
            prop_assert_eq!(tail.text(), &whole[from..]);
        }

        #[test]
        fn any_bytes_are_judged_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut frames = Frames::default();
            frames.take_in(&bytes);
            let mut tail = Tail::default();
            tail.take_in(&bytes);
            prop_assert!(tail.text().len() <= MAX_STDERR_TAIL);
            prop_assert!(!matches!(frames.into_last(), Ok(Last::Done(_))));
        }
    }

    #[test]
    fn what_is_no_result_is_told_apart() {
        let cut = |bytes: &[u8]| {
            let mut frames = Frames::default();
            frames.take_in(bytes);
            frames.into_last().unwrap_err()
        };
        assert!(cut(b"").contains("said nothing"));
        assert!(cut(&[9, 0, 0, 0, 1]).contains("inside a frame"));
        assert!(cut(b"hello world").contains("announced a frame"));
        assert!(cut(&[1, 0, 0, 0, 0xc1]).contains("can't be decoded"));
        assert_eq!(last_line("one\n two\tthree \n\n"), "twothree");
    }
}
