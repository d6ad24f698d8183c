//! The order of the examination.

use std::path::Path;

use shared::{broker::Identity, settings::Settings};

use super::{broker, files, findings::Findings, gpus, machine, memory, scripts};
use crate::{WorkerError, admission::MemorySource, devices::System};

/// Who is examined.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The settings in force.
    pub settings: &'a Settings,
    /// The file they came from, if any.
    pub file: Option<&'a Path>,
    /// The data folder.
    pub home: &'a Path,
    /// The folder of the executables.
    pub programs: &'a Path,
    /// Who the worker would be to the broker.
    pub identity: Identity,
}

/// Looks at everything, tells it, and returns the exit code.
///
/// # Errors
/// [`WorkerError::System`] when it can't be told.
pub async fn run(subject: &Subject<'_>, json: bool) -> Result<u8, WorkerError> {
    let mut findings = Findings::default();
    machine::settings(subject, &mut findings);
    machine::folders(subject, &mut findings);
    files::ramdisk(subject.settings, &mut findings);
    machine::limits(subject.settings, &mut findings);
    let system = System::here();
    memory::look(subject.settings, &MemorySource::below(system.root()), &mut findings);
    gpus::look(subject.settings, &system, &mut findings);
    scripts::look(&subject.settings.scripts, &subject.settings.steps, &mut findings);
    files::server(subject.settings, &mut findings);
    broker::look(subject, &mut findings).await;
    findings.tell(json)?;
    Ok(findings.exit_code())
}
