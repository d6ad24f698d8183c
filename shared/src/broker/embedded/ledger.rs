//! Whose folder it is: a file with the uuid of the ledger.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use uuid::Uuid;

use super::{
    fault::Fault,
    files::{prepare, remove, sync},
};
use crate::broker::{BrokerError, Owner};

/// The file, which holds a uuid and a newline.
const LEDGER: &str = "ledger";

/// Makes the folder the ledger's; whose it was before.
pub(in crate::broker) fn claim(
    folder: &Path,
    uuid: &str,
    adopt: bool,
) -> Result<Owner, BrokerError> {
    let failed = |fault: Fault| fault.into_error(folder);
    prepare(folder).map_err(failed)?;
    loop {
        let found = read(folder, uuid).map_err(failed)?;
        match &found {
            Owner::This => {}
            Owner::Other(owner) if !adopt => {
                return Err(BrokerError::Owned {
                    url: format!("embedded:{}", folder.display()),
                    owner: owner.clone(),
                    ledger: uuid.to_owned(),
                });
            }
            Owner::Other(_) => drop(write(folder, uuid, true).map_err(failed)?),
            // Another may have been faster.
            Owner::Nobody if !write(folder, uuid, false).map_err(failed)? => continue,
            Owner::Nobody => {}
        }
        return Ok(found);
    }
}

/// Whose folder it is.
pub(in crate::broker) fn owner(folder: &Path, uuid: &str) -> Result<Owner, BrokerError> {
    read(folder, uuid).map_err(|fault| fault.into_error(folder))
}

fn read(folder: &Path, uuid: &str) -> Result<Owner, Fault> {
    let path = folder.join(LEDGER);
    match fs::read_to_string(&path) {
        Ok(text) if text.trim() == uuid => Ok(Owner::This),
        Ok(text) => Ok(Owner::Other(Some(text.trim().chars().take(64).collect()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Owner::Nobody),
        Err(error) => Err(Fault::io("read", &path, &error)),
    }
}

/// Writes the file, whole or not at all; without `replace`, false when there is one by now.
fn write(folder: &Path, uuid: &str, replace: bool) -> Result<bool, Fault> {
    let path = folder.join(LEDGER);
    let draft = folder.join(format!("{LEDGER}.{}", Uuid::now_v7()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        writeln!(file, "{uuid}")?;
        file.sync_all()
    })();
    let placed = written.and_then(|()| {
        if replace { fs::rename(&draft, &path) } else { fs::hard_link(&draft, &path) }
    });
    remove(&draft);
    match placed {
        Ok(()) => sync(folder).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Fault::io("write", &path, &error)),
    }
}
