//! What every command starts from: settings, data folder, broker, ledgers.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use shared::{
    broker::{self, Broker, Identity, Patience},
    settings::{Layers, Settings, data_home, has_password, host_name},
};

use serde::de::DeserializeOwned;

use crate::{
    ask::{self, Ask},
    failure::Failure,
    ledger::{Ledger, RunRow},
    output,
    server::Server,
};

/// The resolved surroundings of a command.
#[derive(Debug)]
pub struct Context {
    /// The layers, for `config show`.
    pub layers: Layers,
    /// The settings in force.
    pub settings: Settings,
    /// The data folder.
    pub home: PathBuf,
    /// The `producer serve` that has the ledger, when it is not in this data folder.
    pub server: Option<Server>,
}

impl Context {
    /// Reads settings and environment; `broker` is the command line's URL.
    ///
    /// # Errors
    /// [`Failure`] when a settings file can't be read or holds something wrong.
    pub fn resolve(config: Option<&Path>, broker: Option<&str>) -> Result<Self, Failure> {
        let mut layers = Layers::load(config)?;
        if let Some(url) = broker {
            layers.set("broker.url", url.into(), "--broker");
            if has_password(url) {
                output::say(
                    "note: a password on the command line can be read by everybody on this \
                     machine; put the URL into RIGQUEUE_BROKER or the settings file",
                );
            }
        }
        let settings = layers.settings()?;
        let server = Server::from_environment(&settings.serve.token)?;
        Ok(Self { layers, settings, home: data_home()?, server })
    }

    /// Connects to the broker of the settings.
    ///
    /// # Errors
    /// [`Failure`] when it refuses, or can't be reached as long as `patience` lasts.
    pub async fn broker(
        &self,
        role: &'static str,
        patience: Patience,
    ) -> Result<Arc<dyn Broker>, Failure> {
        let instance = format!("{role}-{}", std::process::id());
        let identity = Identity { node: host_name(), instance, role };
        Ok(broker::connect(&self.settings.broker, &self.home, identity, patience).await?)
    }

    /// The folder of a local run.
    #[must_use]
    pub fn local(&self, run: &str) -> PathBuf {
        local_home(&self.home, run)
    }

    /// The ledger in this data folder that knows a run; see [`ask::find_run`].
    ///
    /// # Errors
    /// [`Failure`] with exit code 5 when none does.
    pub fn find_run(&self, name: &str) -> Result<(Ledger, RunRow), Failure> {
        ask::find_run(&self.home, name)
    }

    /// The answer of the ledger: of `producer serve` where `RIGQUEUE_SERVER` names one, else of
    /// this data folder.
    ///
    /// # Errors
    /// [`Failure`] as the ledger says, or when the server can't be reached.
    pub fn ask<T: DeserializeOwned>(&self, ask: &Ask) -> Result<T, Failure> {
        let text = match &self.server {
            Some(server) => server.ask(ask)?,
            None => ask::answer(&self.home, ask)?,
        };
        serde_json::from_str(&text)
            .map_err(|error| Failure::internal(format!("an answer that can't be read: {error}")))
    }
}

/// The folder of a local run in a data folder.
#[must_use]
pub fn local_home(home: &Path, run: &str) -> PathBuf {
    home.join("local").join(run)
}

/// The folders that may hold a ledger: the data folder, then those of local runs, the newest name
/// last.
#[must_use]
pub fn ledger_homes(home: &Path) -> Vec<PathBuf> {
    let locals = fs::read_dir(home.join("local")).into_iter().flatten();
    let mut locals: Vec<PathBuf> = locals.filter_map(Result::ok).map(|e| e.path()).collect();
    locals.sort_unstable();
    std::iter::once(home.to_owned()).chain(locals).collect()
}

/// Checks a run's name: it becomes a folder's and a header.
///
/// # Errors
/// [`Failure`] for anything but 1 to 64 letters, digits, `.`, `_` and `-`, not starting with `.`
/// or `-`.
pub fn check_run_name(name: &str) -> Result<(), Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty()
        || name.len() > 64
        || name.starts_with(['.', '-'])
        || !name.chars().all(plain)
    {
        let shown: String = name.chars().take(80).collect();
        return Err(Failure::usage(format!(
            "'{}' can't be a run's name: use 1 to 64 letters, digits, '.', '_' and '-', \
             beginning with a letter or digit",
            shown.escape_default()
        )));
    }
    Ok(())
}
