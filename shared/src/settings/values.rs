//! The settings as types; `default.toml` beside this file documents each.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use super::EndpointSettings;
use crate::job::Arch;

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where messages go.
    pub broker: BrokerSettings,
    /// How this node works.
    pub worker: WorkerSettings,
    /// How ranges are cut.
    pub planner: PlannerSettings,
    /// How the ledger is kept.
    pub aggregator: AggregatorSettings,
    /// The HTTP side of `producer serve`.
    pub serve: ServeSettings,
    /// Where scripts come from.
    pub scripts: ScriptsSettings,
    /// Presets of the script steps, by step.
    pub steps: BTreeMap<String, StepPreset>,
    /// Profiles of the architectures.
    pub arch: BTreeMap<Arch, ArchProfile>,
    /// Endpoints whose workers are slots of this one's.
    #[serde(default)]
    pub endpoint: Vec<EndpointSettings>,
}

impl Settings {
    /// The longest that a worker may hold the delivery of a job with that time limit, in seconds:
    /// kept, run, ended, and reported within two minutes. It must be below the broker's
    /// `consumer_timeout`.
    #[must_use]
    pub fn longest_held(&self, time_limit_seconds: f64) -> f64 {
        time_limit_seconds + self.worker.admission_wait.0 + self.worker.grace.0 + 120.0
    }
}

/// Where messages go.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerSettings {
    /// `embedded:`, `embedded:/path` or `amqp(s)://user:password@host/vhost`.
    pub url: String,
    /// The management plugin's URL; empty when there is none.
    pub management: String,
    /// `amqps`: a PEM file of the authorities that vouch for the broker; empty for the system's.
    pub ca: String,
    /// `amqps`: a PEM file of this client's own certificate; empty for none.
    pub certificate: String,
    /// `amqps`: a PEM file of that certificate's private key; empty for none.
    pub key: String,
    /// What the broker allows an unacknowledged delivery.
    pub consumer_timeout: Seconds,
}

impl BrokerSettings {
    /// The broker at a URL, with nothing else that is special about it.
    #[must_use]
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            management: String::new(),
            ca: String::new(),
            certificate: String::new(),
            key: String::new(),
            consumer_timeout: Seconds(4.0 * 3600.0),
        }
    }
}

/// How this node works.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerSettings {
    /// The node's name; empty for the host's.
    pub node: String,
    /// What its jobs run on.
    pub arch: Arch,
    /// How many jobs run side by side.
    pub slots: Slots,
    /// The most jobs at a time on this node.
    pub max_jobs: u32,
    /// The most script jobs at a time on this node.
    pub max_concurrent_script_jobs: u32,
    /// Host memory that jobs must leave free, in MiB.
    pub reserve_memory_mb: u64,
    /// How long scripts may go on after SIGTERM.
    pub drain_timeout: Seconds,
    /// How long a job that fits, but not now, is kept.
    pub admission_wait: Seconds,
    /// Between TERM and KILL.
    pub grace: Seconds,
    /// A runner without progress for so long has stalled.
    pub stall_timeout: Seconds,
    /// Input files kept on the node, in MiB.
    pub cache_mb: u64,
    /// The folder that sets of files are staged in; empty for none.
    pub ramdisk: String,
}

/// How ranges are cut.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannerSettings {
    /// How long a piece should take.
    pub target_seconds: f64,
    /// How long the last pieces of a queue should take.
    pub min_seconds: f64,
}

/// How the ledger is kept.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AggregatorSettings {
    /// How long a run must have been silent, with nothing queued or held, before what it lacks is
    /// queued again.
    pub reconcile_after: Seconds,
}

/// The HTTP side of `producer serve`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServeSettings {
    /// The address to listen on.
    pub listen: String,
    /// The bearer token; empty for none.
    pub token: String,
}

/// Where scripts come from.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptsSettings {
    /// The only folders that scripts are run from.
    pub folders: Vec<String>,
    /// The interpreter.
    pub python: String,
}

/// The preset of one script step.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepPreset {
    /// The script's name.
    pub script: String,
    /// Its arguments, with `{chunk}` and `{output}`.
    #[serde(default)]
    pub args: Vec<String>,
    /// Survivors in one chunk.
    pub chunk_size: Option<u64>,
    /// Survivors that a trial samples.
    pub sample_size: Option<u64>,
    /// After how long a script is ended.
    pub timeout: Option<Seconds>,
    /// Host memory that it needs, in MiB.
    pub memory_mb: Option<u64>,
    /// How many run at once on a node.
    pub concurrency: Option<u32>,
    /// Modules that must be importable.
    #[serde(default)]
    pub imports: Vec<String>,
    /// Modules loaded before the fork of a warm start; without effect so far (docs/adr/0020).
    #[serde(default)]
    pub preload: Vec<String>,
    /// Input files that a node must have staged.
    #[serde(default)]
    pub inputs: Vec<String>,
}

/// What children of an architecture get.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchProfile {
    /// Environment variables, set in the child alone; an empty value takes a default away.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Those for GPUs of one compiler architecture (`gfx1032`) alone; `env` goes over them.
    #[serde(default)]
    pub gpu_env: BTreeMap<String, BTreeMap<String, String>>,
    /// The least time between two starts of scripts.
    #[serde(default)]
    pub start_spacing: Seconds,
}

/// How many jobs run side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "toml::Value")]
pub enum Slots {
    /// One for each core that this process may use, or for each GPU that is found.
    Auto,
    /// That many; the cores are shared out among them. For GPUs: the first so many.
    Count(u32),
}

impl TryFrom<toml::Value> for Slots {
    type Error = String;

    fn try_from(value: toml::Value) -> Result<Self, String> {
        match value {
            toml::Value::String(text) if text == "auto" => Ok(Self::Auto),
            toml::Value::String(text) => text
                .parse()
                .ok()
                .filter(|count| (1..=1024).contains(count))
                .map(Self::Count)
                .ok_or_else(|| format!("slots is '{text}'; it must be \"auto\" or 1 to 1024")),
            toml::Value::Integer(count @ 1..=1024) => {
                Ok(Self::Count(u32::try_from(count).unwrap_or(1024)))
            }
            other => Err(format!("slots is {other}; it must be \"auto\" or 1 to 1024")),
        }
    }
}

/// A span of time in a setting: `"90s"`, `"10m"`, `"4h"`, `"250ms"`, `"2d"`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Seconds(pub f64);

impl Seconds {
    /// The same as a [`Duration`].
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::try_from_secs_f64(self.0).unwrap_or(Duration::MAX)
    }
}

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("'{text}' is no time: write a number and ms, s, m, h or d, as in 90s");
        let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let scale = match &text[number.len()..] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return Err(wrong()),
        };
        let value: f64 = number.parse().map_err(|_| wrong())?;
        if value.is_finite() && value >= 0.0 { Ok(Self(value * scale)) } else { Err(wrong()) }
    }
}

impl TryFrom<String> for Seconds {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Seconds> for String {
    fn from(seconds: Seconds) -> Self {
        seconds.to_string()
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0)
    }
}
