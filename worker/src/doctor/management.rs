//! What only RabbitMQ's management API tells.

use std::time::Duration;

use serde::{Deserialize, de::DeserializeOwned};
use shared::settings::{BrokerSettings, Seconds};
use ureq::Agent;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What it told.
#[derive(Debug)]
pub(super) struct Told {
    /// RabbitMQ's version.
    pub(super) version: String,
    /// The shortest acknowledgement timeout that a policy of the vhost sets (3.12 and later).
    pub(super) consumer_timeout: Option<Seconds>,
}

#[derive(Deserialize)]
struct Overview {
    rabbitmq_version: String,
}

#[derive(Deserialize)]
struct Policy {
    definition: Definition,
}

#[derive(Deserialize)]
struct Definition {
    /// In milliseconds.
    #[serde(rename = "consumer-timeout")]
    consumer_timeout: Option<f64>,
}

/// Asks the management API, with the broker's own user unless its URL names another.
///
/// # Errors
/// Why it could not be asked, in one line, without a password.
pub(super) fn ask(broker: &BrokerSettings) -> Result<Told, String> {
    let agent: Agent = Agent::config_builder().timeout_global(Some(PATIENCE)).build().into();
    let (base, vhost) = place(broker).ok_or("broker.management is no http(s) URL")?;
    let overview: Overview = get(&agent, &format!("{base}/api/overview"))?;
    let policies: Vec<Policy> = get(&agent, &format!("{base}/api/policies/{vhost}"))?;
    let limits = policies.iter().filter_map(|policy| policy.definition.consumer_timeout);
    Ok(Told {
        version: overview.rabbitmq_version,
        consumer_timeout: limits.reduce(f64::min).map(|ms| Seconds(ms / 1000.0)),
    })
}

/// The API's URL with a user in it, and the vhost as it stands in a URL's path.
fn place(broker: &BrokerSettings) -> Option<(String, String)> {
    let (_, rest) = broker.url.split_once("://")?;
    let rest = rest.split_once('?').map_or(rest, |(before, _)| before);
    let (authority, vhost) = rest.split_once('/').unwrap_or((rest, "%2f"));
    let user = authority.rsplit_once('@').map_or("guest:guest", |(user, _)| user);
    let (scheme, host) = broker.management.trim_end_matches('/').split_once("://")?;
    if !matches!(scheme, "http" | "https") || host.is_empty() {
        return None;
    }
    let whole = if host.contains('@') { host.to_owned() } else { format!("{user}@{host}") };
    Some((format!("{scheme}://{whole}"), vhost.to_owned()))
}

fn get<T: DeserializeOwned>(agent: &Agent, url: &str) -> Result<T, String> {
    // Only kinds of errors are told: some texts hold the whole URL.
    let answer = agent.get(url).call().map_err(|error| match error {
        ureq::Error::StatusCode(401) => {
            "the broker's user may not ask the management API (rabbitmqctl set_user_tags USER monitoring)"
                .to_owned()
        }
        ureq::Error::StatusCode(code) => format!("the management API answered {code}"),
        ureq::Error::Timeout(_) => format!("the management API said nothing within {PATIENCE:?}"),
        ureq::Error::Io(error) => format!("the management API can't be reached: {error}"),
        ureq::Error::HostNotFound => "the management API's host is not known".to_owned(),
        ureq::Error::ConnectionFailed => "nothing listens at the management API's place".to_owned(),
        _ => "the management API can't be asked".to_owned(),
    })?;
    let mut body = answer.into_body();
    body.read_json().map_err(|_| "the management API's answer makes no sense".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(url: &str, management: &str) -> Option<(String, String)> {
        place(&BrokerSettings { management: management.to_owned(), ..BrokerSettings::at(url) })
    }

    #[test]
    fn the_api_is_asked_as_the_brokers_user() {
        let whole = |base: &str, vhost: &str| Some((base.to_owned(), vhost.to_owned()));
        assert_eq!(
            placed("amqps://ann:s%40t@hub:5671/rig%2fone?heartbeat=5", "http://hub:15672/"),
            whole("http://ann:s%40t@hub:15672", "rig%2fone")
        );
        assert_eq!(placed("amqp://hub", "https://hub"), whole("https://guest:guest@hub", "%2f"));
        assert_eq!(
            placed("amqp://ann:x@hub/v", "http://eve:y@hub:1"),
            whole("http://eve:y@hub:1", "v")
        );
        assert_eq!(placed("amqp://hub/v", "hub:15672"), None);
        assert_eq!(placed("amqp://hub/v", "ftp://hub"), None);
    }
}
