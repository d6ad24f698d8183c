//! Where the inputs of jobs are put, so that workers find them.

use std::{fs::File, path::Path};

use shared::{
    blobs::{Blobs, hash_of},
    input::Input,
    server::{Server, Shelf},
};

use crate::{context::Context, failure::Failure};

/// The place that workers get their inputs from.
#[derive(Debug, Clone)]
pub struct JobInputs {
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Here(Blobs),
    There(Server),
}

impl JobInputs {
    /// In the data folder that the run's broker and ledger are in.
    #[must_use]
    pub fn of(home: &Path) -> Self {
        Self { place: Place::Here(Blobs::of(home)) }
    }

    /// Where the ledger is: on the server that `RIGQUEUE_SERVER` names, else in the data folder.
    #[must_use]
    pub fn of_context(context: &Context) -> Self {
        match &context.server {
            Some(server) => Self { place: Place::There(server.files().clone()) },
            None => Self::of(&context.home),
        }
    }

    /// Keeps a file; jobs call it `name`.
    ///
    /// # Errors
    /// [`Failure`] when it can't be read, or not be kept.
    pub fn file(&self, name: &str, path: &Path) -> Result<Input, Failure> {
        match &self.place {
            Place::Here(blobs) => Ok(blobs.keep(name, open(path)?)?),
            Place::There(server) => {
                let input = look(name, path)?;
                if !server.has(Shelf::Inputs, &input.blake3)? {
                    server.send(Shelf::Inputs, &input.blake3, &open(path)?)?;
                }
                Ok(input)
            }
        }
    }

    /// Keeps bytes; jobs call them `name`.
    ///
    /// # Errors
    /// [`Failure`] when they can't be kept.
    pub fn bytes(&self, name: &str, mut bytes: &[u8]) -> Result<Input, Failure> {
        match &self.place {
            Place::Here(blobs) => Ok(blobs.keep(name, bytes)?),
            Place::There(server) => {
                let (name, size) = (name.to_owned(), bytes.len() as u64);
                let input = Input { name, blake3: blake3::hash(bytes).to_hex().to_string(), size };
                if !server.has(Shelf::Inputs, &input.blake3)? {
                    server.send_bytes(Shelf::Inputs, &input.blake3, size, &mut bytes)?;
                }
                Ok(input)
            }
        }
    }

    /// Brings a file here from another place, unless it is here already.
    ///
    /// # Errors
    /// [`Failure`] when it is not there, or can't be had.
    pub fn bring(&self, input: &Input, from: &Self) -> Result<(), Failure> {
        let Place::Here(blobs) = &self.place else { return Ok(()) };
        if blobs.has(input) {
            return Ok(());
        }
        match &from.place {
            Place::Here(from) => {
                let found = from.open(&input.blake3)?;
                let (file, _) = found.ok_or_else(|| gone(input))?;
                Ok(blobs.take(input, file)?)
            }
            Place::There(server) => Ok(blobs.take(input, server.fetch(input)?)?),
        }
    }
}

fn gone(input: &Input) -> Failure {
    Failure::unreachable(format!(
        "the staged file '{}' is not kept any more: stage its set again (`producer stage`)",
        input.name
    ))
}

/// What a file is as an input that jobs call `name`; it is read, not kept.
///
/// # Errors
/// [`Failure`] when it can't be read.
pub fn look(name: &str, path: &Path) -> Result<Input, Failure> {
    let unreadable = |error| unreadable(path, &error);
    let size = open(path)?.metadata().map_err(unreadable)?.len();
    Ok(Input { name: name.to_owned(), blake3: hash_of(path).map_err(unreadable)?, size })
}

fn open(path: &Path) -> Result<File, Failure> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    if file.metadata().is_ok_and(|about| about.is_file()) {
        return Ok(file);
    }
    Err(Failure::usage(format!("'{}' is no plain file", path.display())))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("the file '{}' can't be read: {error}", path.display()))
}
