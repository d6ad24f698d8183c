//! How a worker talks with a runner.
//!
//! A runner is started as `runner-<kind> --threads N [--soft-seconds S]` with the job's bytes
//! (a [`Job`](crate::job::Job) in MessagePack) on stdin up to end of file. On stdout it writes
//! frames: a `u32` length, little-endian, and that many bytes of MessagePack, a [`Frame`]. The
//! last frame is [`Frame::Done`], [`Frame::Rejected`] or [`Frame::Failed`]. stderr is free text
//! for people. On SIGTERM it finishes short at the next block boundary and still reports what it
//! tested.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    outcome::{Failure, SieveResult},
    wire::one_line,
};

/// The longest frame, in bytes: an outcome's worth.
pub const MAX_FRAME: usize = 1024 * 1024;

/// Environment variable of every child that works on a GPU: which one, as its UUID (CUDA) or its
/// PCI address. A runner checks that it sees this device and no other; a script can.
pub const ENV_DEVICE: &str = "RIGQUEUE_DEVICE";

/// Environment variable of every script: the absolute path of `runner-cpu`, which puts out
/// generators' streams (see [`crate::stream`]).
pub const ENV_RUNNER: &str = "RIGQUEUE_RUNNER";

/// A runner's exit code after [`Frame::Rejected`].
pub const EXIT_REJECTED: i32 = 2;

/// One message from a runner.
#[expect(clippy::large_enum_variant, reason = "one at a time: a box would save nothing")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame {
    /// Still alive, at most four times a second.
    Progress(Progress),
    /// The result, whole or short. The last frame.
    Done(SieveResult),
    /// The job makes no sense; why, in one line. The last frame.
    Rejected(String),
    /// What computes has failed, and whose fault that is. The last frame.
    Failed {
        /// What kind of failure.
        failure: Failure,
        /// Why, in one line.
        detail: String,
    },
}

/// How far a runner is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Seeds or candidates tested so far.
    pub tested: u64,
    /// Survivors found so far.
    pub survivors: u64,
}

/// A stream of frames that is not one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The pipe failed or ended inside a frame.
    #[error("the runner's output ended inside a frame: {0}")]
    Pipe(#[from] io::Error),
    /// A length past the limit: garbage on stdout.
    #[error("the runner announced a frame of {0} bytes; the limit is {MAX_FRAME}")]
    TooLong(usize),
    /// Bytes that are no frame.
    #[error("the runner sent a frame that can't be decoded: {}", one_line(.0))]
    Undecodable(#[from] rmp_serde::decode::Error),
    /// A frame that could not be written.
    #[error("a frame could not be encoded: {0}")]
    Unencodable(#[from] rmp_serde::encode::Error),
}

/// Writes one frame and flushes.
///
/// # Errors
/// [`FrameError`] when the pipe is closed or the frame is longer than [`MAX_FRAME`].
pub fn write_frame(mut out: impl Write, frame: &impl Serialize) -> Result<(), FrameError> {
    let body = rmp_serde::to_vec_named(frame)?;
    if body.len() > MAX_FRAME {
        return Err(FrameError::TooLong(body.len()));
    }
    let length = u32::try_from(body.len()).map_err(|_| FrameError::TooLong(body.len()))?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(&body)?;
    Ok(out.flush()?)
}

/// Reads one frame; `None` at the end of the stream.
///
/// # Errors
/// [`FrameError`] when the stream ends inside a frame or holds something else.
pub fn read_frame<T: DeserializeOwned>(mut input: impl Read) -> Result<Option<T>, FrameError> {
    let mut length = [0; 4];
    if input.read(&mut length[..1])? == 0 {
        return Ok(None);
    }
    input.read_exact(&mut length[1..])?;
    let length = frame_length(length)?;
    let mut body = vec![0; length];
    input.read_exact(&mut body)?;
    decode_frame(&body).map(Some)
}

/// The length that a frame's first four bytes announce.
///
/// # Errors
/// [`FrameError::TooLong`] past [`MAX_FRAME`].
pub fn frame_length(prefix: [u8; 4]) -> Result<usize, FrameError> {
    let length = u32::from_le_bytes(prefix) as usize;
    if length > MAX_FRAME { Err(FrameError::TooLong(length)) } else { Ok(length) }
}

/// Decodes a frame's body.
///
/// # Errors
/// [`FrameError::Undecodable`].
pub fn decode_frame<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    Ok(rmp_serde::from_slice(body)?)
}
