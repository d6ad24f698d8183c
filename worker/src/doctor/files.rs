//! Files: the ramdisk that sets are staged on, and the server that inputs come from.

use std::path::Path;

use shared::{exit_codes, handover::HANDOVER_PATH, server::Server, settings::Settings};

use super::{findings::Findings, machine::room};
use crate::staging::Ramdisk;

/// The longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 1 << 20;

/// Looks at the ramdisk's folder.
pub(super) fn ramdisk(settings: &Settings, findings: &mut Findings) {
    let folder = &settings.worker.ramdisk;
    if folder.is_empty() {
        findings.ok("ramdisk", "worker.ramdisk is empty: nothing is staged on this node");
        return;
    }
    let path = Path::new(folder);
    if path.symlink_metadata().is_ok()
        && let Err(error) = Ramdisk::at(path.to_owned()).check()
    {
        findings.warn(
            "ramdisk",
            error,
            "sets of files can't be staged on this node: set worker.ramdisk to another folder",
        );
        return;
    }
    match room(path) {
        Ok(free) => findings.ok("ramdisk", format!("{folder}, {free} MiB free")),
        Err(error) => findings.warn(
            "ramdisk",
            format!("{folder} can't be written: {error}"),
            "sets of files can't be staged on this node; mount a tmpfs there",
        ),
    }
}

/// Looks at the server that the environment names, if any. Blocks.
pub(super) fn server(settings: &Settings, findings: &mut Findings) {
    let server = match Server::from_environment(&settings.serve.token) {
        Ok(Some(server)) => server,
        Ok(None) => {
            let found = "RIGQUEUE_SERVER is not set: files are found in the data folder alone";
            findings.ok("server", found);
            return;
        }
        Err(error) => {
            findings.fail("server", error, "correct RIGQUEUE_SERVER, or unset it");
            return;
        }
    };
    match server.post(HANDOVER_PATH, "[]".to_owned(), MAX_ANSWER) {
        Ok(_) => findings.ok("server", format!("{} lets this node in", server.url())),
        Err(error) => findings.fail_with(
            exit_codes::UNREACHABLE,
            "server",
            error,
            "inputs can't be fetched, and outputs stay on this node: start `producer serve` there",
        ),
    }
}
