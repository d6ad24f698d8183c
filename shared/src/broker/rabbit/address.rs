//! Where a broker is, and how that is shown: never with the password.

use std::fmt;

use lapin::uri::{AMQPScheme, AMQPUri};

use super::{super::BrokerError, tls::Papers};
use crate::settings::BrokerSettings;

/// Seconds between heartbeats unless the URL says otherwise: RabbitMQ advises 5 to 20.
const HEARTBEAT_SECONDS: u16 = 20;
/// Bytes a frame unless the URL says otherwise. lapin keeps two buffers of 32 frames for each
/// connection; RabbitMQ's own 128 KiB would make that 16 MiB for a worker that does nothing.
const FRAME_MAX: u32 = 32 * 1024;

/// A broker's URL, taken apart.
#[derive(Clone)]
pub(super) struct Address {
    /// With the password; only lapin sees it.
    pub(super) uri: AMQPUri,
    /// Without the password.
    pub(super) shown: String,
    /// What TLS is made with, where the URL asks for it.
    pub(super) papers: Option<Papers>,
}

impl Address {
    /// Takes the settings' URL apart.
    pub(super) fn of(settings: &BrokerSettings) -> Result<Self, BrokerError> {
        let mut address = Self::parse(&settings.url)?;
        address.papers = Papers::of(settings, address.tls())?;
        Ok(address)
    }

    fn parse(url: &str) -> Result<Self, BrokerError> {
        let fault = |why: String| BrokerError::Url { url: without_password(url), why };
        let mut uri: AMQPUri = url.parse().map_err(|why: String| {
            // A parser that quotes its input would quote the password.
            if why.contains(url) { fault("it can't be read".to_owned()) } else { fault(why) }
        })?;
        // The parser takes an IPv6 address for no host at all, which would mean localhost.
        if let Some(host) = ipv6_host(url) {
            host.clone_into(&mut uri.authority.host);
        }
        if uri.authority.host.is_empty() {
            return Err(fault("it has no host".to_owned()));
        }
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        uri.query.frame_max.get_or_insert(FRAME_MAX);
        Ok(Self { uri, shown: without_password(url), papers: None })
    }

    /// `host:port`.
    pub(super) fn endpoint(&self) -> String {
        let authority = &self.uri.authority;
        if authority.host.contains(':') {
            format!("[{}]:{}", authority.host, authority.port)
        } else {
            format!("{}:{}", authority.host, authority.port)
        }
    }

    /// Whether the URL asks for TLS.
    fn tls(&self) -> bool {
        self.uri.scheme == AMQPScheme::AMQPS
    }

    /// The user's name.
    pub(super) fn user(&self) -> &str {
        &self.uri.authority.userinfo.username
    }

    pub(super) fn unreachable(&self, why: impl Into<String>) -> BrokerError {
        BrokerError::Unreachable { url: self.shown.clone(), why: why.into() }
    }

    pub(super) fn refused(&self, why: impl Into<String>) -> BrokerError {
        BrokerError::Refused { url: self.shown.clone(), why: why.into() }
    }

    pub(super) fn no_queue(&self, queue: &str) -> BrokerError {
        BrokerError::NoQueue { url: self.shown.clone(), queue: queue.to_owned() }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Address").field(&self.shown).finish()
    }
}

/// A URL without its password and its query, whether or not it is one.
fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let rest = rest.split_once('?').map_or(rest, |(before, _)| before);
    let shown = match rest.rsplit_once('@') {
        Some((userinfo, place)) => {
            let user = userinfo.split_once(':').map_or(userinfo, |(user, _)| user);
            format!("{user}@{place}")
        }
        None => rest.to_owned(),
    };
    if scheme.is_empty() { shown } else { format!("{scheme}://{shown}") }
}

fn ipv6_host(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split_once(['/', '?']).map_or(rest, |(authority, _)| authority);
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    place.strip_prefix('[')?.split_once(']').map(|(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for url in [
            "amqp://ann:s3cret@host/vhost",
            "amqp://ann:s3c%40ret@host:5672/%2f?heartbeat=3",
            "amqps://ann:s3@cret@host/",
            "amqp://ann:s3cret@host:no-port/x",
            "amqp://:s3cret@",
        ] {
            let text = match Address::parse(url) {
                Ok(address) => format!("{address:?} {}", address.unreachable("x")),
                Err(error) => format!("{error:?} {error}"),
            };
            assert!(!text.contains("s3") && !text.contains("cret"), "{url}: {text}");
        }
    }

    #[test]
    fn an_ipv6_address_is_a_host() {
        let address = Address::parse("amqp://ann:pw@[::1]:5673/v").unwrap();
        assert_eq!(address.endpoint(), "[::1]:5673");
        assert_eq!(Address::parse("amqp://127.0.0.1").unwrap().endpoint(), "127.0.0.1:5672");
    }

    #[test]
    fn a_heartbeat_is_asked_for_unless_the_url_says_which() {
        let ours = Address::parse("amqp://h/v").unwrap();
        assert_eq!(ours.uri.query.heartbeat, Some(20));
        let theirs = Address::parse("amqp://h/v?heartbeat=7").unwrap();
        assert_eq!(theirs.uri.query.heartbeat, Some(7));
    }
}
