//! `[[endpoint]]`: slots of a worker that are serverless workers behind a URL.

use serde::Deserialize;

use super::Seconds;
use crate::job::Arch;

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointSettings {
    /// What `/run`, `/status/{id}` and `/cancel/{id}` follow.
    pub url: String,
    /// The bearer token; empty for none.
    #[serde(default)]
    pub token: String,
    /// What its scripts run on; the worker's own architecture unless given.
    #[serde(default)]
    pub arch: Option<Arch>,
    /// How many jobs it holds at most.
    #[serde(default = "one")]
    pub slots: u32,
    /// How many requests it gets in a second at most, of all kinds together.
    #[serde(default = "two")]
    pub requests_per_second: f64,
    /// How long a request may take.
    #[serde(default = "half_a_minute")]
    pub request_timeout: Seconds,
    /// How long a job may stand in its queue; never longer than `worker.admission_wait`.
    #[serde(default = "five_minutes")]
    pub queue_timeout: Seconds,
    /// After how many failed requests in a row it is left alone.
    #[serde(default = "five")]
    pub failures: u32,
    /// For how long then; twice as long each time that it fails again, up to 10 minutes.
    #[serde(default = "half_a_minute")]
    pub cooldown: Seconds,
    /// The largest request, in MiB: a job whose inputs do not fit runs on a local slot.
    #[serde(default = "eight")]
    pub max_request_mb: u64,
}

const fn one() -> u32 {
    1
}

const fn two() -> f64 {
    2.0
}

const fn five() -> u32 {
    5
}

const fn eight() -> u64 {
    8
}

const fn half_a_minute() -> Seconds {
    Seconds(30.0)
}

const fn five_minutes() -> Seconds {
    Seconds(300.0)
}

impl EndpointSettings {
    /// Checks what its types do not.
    ///
    /// # Errors
    /// One line that names the setting, never the token.
    pub fn validate(&self) -> Result<(), String> {
        let (scheme, rest) = self.url.split_once("://").unwrap_or_default();
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if !matches!(scheme, "http" | "https") || host.is_empty() {
            return Err("endpoint.url must begin with http:// or https:// and name a host".into());
        }
        if host.contains('@') || rest.contains(['?', '#']) {
            let why = "endpoint.url must have no user, query or fragment: its secret is the token";
            return Err(why.into());
        }
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let is_here = name == "localhost" || name == "[::1]" || name.starts_with("127.");
        if scheme == "http" && !self.token.is_empty() && !is_here {
            return Err(format!(
                "endpoint.url is http and {name} is not this host: its token would \
                                be sent in the clear, use https"
            ));
        }
        if !self.token.chars().all(|c| c.is_ascii_graphic()) {
            return Err("endpoint.token has characters that no bearer token has".into());
        }
        for (name, value, most) in [
            ("slots", f64::from(self.slots), 1024.0),
            ("failures", f64::from(self.failures), 1000.0),
            ("requests_per_second", self.requests_per_second, 1000.0),
            ("request_timeout", self.request_timeout.0, 3600.0),
            ("queue_timeout", self.queue_timeout.0, 86400.0),
            ("cooldown", self.cooldown.0, 600.0),
        ] {
            if !(value > 0.0 && value <= most) {
                return Err(format!(
                    "endpoint.{name} is {value}; it must be above 0, at most {most}"
                ));
            }
        }
        if !(1..=64).contains(&self.max_request_mb) {
            let mb = self.max_request_mb;
            return Err(format!("endpoint.max_request_mb is {mb}; it must be 1 to 64"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> EndpointSettings {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn what_can_not_work_is_refused_by_name() {
        for good in ["http://127.0.0.1:8000", "https://api.example/v2/abc", "http://[::1]:8/x"] {
            endpoint(&format!("url = \"{good}\"\ntoken = \"t0k\"")).validate().unwrap();
        }
        endpoint("url = \"http://rig7:8000\"").validate().unwrap();
        for (text, expected) in [
            ("url = \"ftp://x\"", "url"),
            ("url = \"http:///run\"", "url"),
            ("url = \"https://u:p@x/\"", "no user"),
            ("url = \"https://x/?key=1\"", "query"),
            ("url = \"http://x\"\ntoken = \"hunter2\"", "in the clear"),
            ("url = \"https://x\"\ntoken = \"hunter 2\"", "token"),
            ("url = \"https://x\"\nslots = 0", "slots is 0"),
            ("url = \"https://x\"\nrequests_per_second = nan", "requests_per_second"),
            ("url = \"https://x\"\ncooldown = \"0s\"", "cooldown"),
            ("url = \"https://x\"\nmax_request_mb = 0", "max_request_mb"),
        ] {
            let why = endpoint(text).validate().unwrap_err();
            assert!(why.contains(expected) && !why.contains("hunter"), "{text}: {why}");
        }
    }
}
