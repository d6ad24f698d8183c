//! Settings: one TOML file, one place per setting.
//!
//! Command line over environment over file over built-in defaults; unknown keys are refused;
//! every effective value knows where it came from.

mod endpoint;
mod home;
mod layers;
mod values;

pub use endpoint::EndpointSettings;
pub use home::{HomeError, data_home, host_name};
pub use layers::{
    DEFAULT_LOG, ENV_BROKER, ENV_CONFIG, ENV_HOME, ENV_LOG, ENV_SERVER, Layers, SettingsError,
    has_password,
};
pub use values::{
    ArchProfile, BrokerSettings, PlannerSettings, ScriptsSettings, Seconds, ServeSettings,
    Settings, Slots, StepPreset, WorkerSettings,
};
