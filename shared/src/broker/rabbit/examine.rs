//! What a worker needs of a broker, asked without touching anybody's messages.

use std::{pin::Pin, time::Duration};

use lapin::{
    BasicProperties, Channel,
    options::{
        BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions,
        QueueDeclareOptions,
    },
    types::FieldTable,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    super::{BrokerError, Identity, Patience},
    address::Address,
    properties::short,
    topology::{Topology, TopologyReport},
};
use crate::{
    settings::BrokerSettings,
    topology::{EVENTS_EXCHANGE, RESULTS_EXCHANGE, events_queue},
};

/// How long the greeting may take.
const GREETING: Duration = Duration::from_secs(5);
/// The most of it that is read, in bytes; RabbitMQ's has about 500.
const MAX_GREETING: usize = 16 * 1024;

/// What was found.
#[derive(Debug, Clone)]
pub struct Examination {
    /// The broker's URL, without its password.
    pub url: String,
    /// The user that the URL names.
    pub user: String,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
    /// RabbitMQ's version; `None` where only the management API could tell (`amqps`).
    pub version: Option<String>,
    /// Its exchanges and queues.
    pub topology: TopologyReport,
    /// What the user must be allowed to do, and whether it is; `None` where that can't be tried.
    pub permissions: Vec<(String, Option<Result<(), String>>)>,
}

/// What will have been found.
pub type Examining<'a> =
    Pin<Box<dyn Future<Output = Result<Examination, BrokerError>> + Send + 'a>>;

/// Looks at a RabbitMQ as a worker that takes from `queues` would use it: whether it is there and
/// lets us in, whose version it is, what is missing in it, and what its user may not do. Nothing is
/// changed in it and no message is taken.
///
/// # Errors
/// As [`super::apply_topology`] when it can't be connected to at all.
#[must_use = "a future does nothing until it is awaited"]
pub fn examine<'a>(
    settings: &'a BrokerSettings,
    identity: &'a Identity,
    queues: &'a [String],
    patience: Patience,
) -> Examining<'a> {
    Box::pin(async move {
        let address = Address::of(settings)?;
        let topology = Topology::connect(settings, patience).await?;
        let found = async {
            let report = topology.check().await?;
            let mut permissions = Vec::new();
            for queue in queues.iter().filter(|queue| report.present.contains(queue)) {
                let may = topology.may(queue, async |channel| take_nothing(channel, queue).await);
                permissions.push((format!("take from {queue}"), may.await?));
            }
            if report.present.iter().any(|name| name == RESULTS_EXCHANGE) {
                let may = topology.may(RESULTS_EXCHANGE, publish_to_nobody).await?;
                permissions.push((format!("publish to {RESULTS_EXCHANGE}"), may));
            }
            if report.present.iter().any(|name| name == EVENTS_EXCHANGE) {
                let own = events_queue(&identity.node, &identity.instance);
                let may = topology.may(EVENTS_EXCHANGE, async |channel| hear(channel, &own).await);
                permissions.push((format!("hear {EVENTS_EXCHANGE}"), may.await?));
            }
            Ok::<_, BrokerError>((report, permissions))
        };
        let found = found.await;
        topology.close().await;
        let (topology, permissions) = found?;
        Ok(Examination {
            url: address.shown.clone(),
            user: address.user().to_owned(),
            encrypted: address.papers.is_some(),
            version: greeting_version(&address).await,
            topology,
            permissions,
        })
    })
}

/// Looks into a queue that is empty. Whether one may look into a full one can't be told without
/// taking from it.
async fn take_nothing(channel: &Channel, queue: &str) -> lapin::Result<bool> {
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::durable() };
    let about = channel.queue_declare(queue.into(), options, FieldTable::default()).await?;
    if about.message_count() > 0 {
        return Ok(false);
    }
    // One that came just now goes back when the channel is closed.
    channel.basic_get(queue.into(), BasicGetOptions::default()).await?;
    Ok(true)
}

/// Publishes what no queue wants: the broker sends it back, if it lets us publish at all.
async fn publish_to_nobody(channel: &Channel) -> lapin::Result<bool> {
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let confirm = channel.basic_publish(
        RESULTS_EXCHANGE.into(),
        "nobody".into(),
        options,
        b"",
        BasicProperties::default(),
    );
    confirm.await?.await?;
    Ok(true)
}

/// Listens as a worker does, with a queue that is gone with the connection.
async fn hear(channel: &Channel, queue: &str) -> lapin::Result<bool> {
    let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
    // A name that is too long has been refused as a node's name before.
    let Ok(name) = short(queue) else { return Ok(false) };
    channel.queue_declare(name.clone(), options, FieldTable::default()).await?;
    let binding = QueueBindOptions::default();
    channel
        .queue_bind(name, EVENTS_EXCHANGE.into(), "".into(), binding, FieldTable::default())
        .await?;
    Ok(true)
}

/// The version in the greeting of AMQP 0-9-1 (`connection.start`), which the AMQP library keeps to
/// itself. Behind TLS it is not looked at.
async fn greeting_version(address: &Address) -> Option<String> {
    if address.papers.is_some() {
        return None;
    }
    let greeting = timeout(GREETING, async {
        let mut stream = TcpStream::connect(address.endpoint()).await?;
        stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
        let mut greeting = Vec::new();
        // It has come whole when the version is in it.
        while version_in(&greeting).is_none() && greeting.len() < MAX_GREETING {
            if stream.read_buf(&mut greeting).await? == 0 {
                break;
            }
        }
        Ok::<_, std::io::Error>(greeting)
    });
    version_in(&greeting.await.ok()?.ok()?)
}

/// The long string under the key `version` of a field table.
fn version_in(greeting: &[u8]) -> Option<String> {
    const KEY: &[u8] = b"\x07versionS";
    let at = greeting.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let (length, rest) = greeting.get(at..)?.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let version = std::str::from_utf8(rest.get(..length)?).ok()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || ".+-_~".contains(c);
    (!version.is_empty() && version.len() < 64 && version.chars().all(plain))
        .then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_only_when_it_is_whole() {
        let greeting = b"\x07productS\0\0\0\x08RabbitMQ\x07versionS\0\0\0\x063.10.8\x08platform";
        assert_eq!(version_in(greeting).as_deref(), Some("3.10.8"));
        for end in 0..greeting.len() - 9 {
            assert_eq!(version_in(&greeting[..end]), None, "{end} bytes");
        }
        assert_eq!(version_in(b"\x07versionS\0\0\0\x03\x1b[2"), None);
        assert_eq!(version_in(b"\x07versionS\xff\xff\xff\xff1"), None);
    }
}
