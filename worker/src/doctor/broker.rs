//! The broker: whether it is there, whose version it is, what it lacks and what it forbids.

use std::time::Duration;

use shared::{
    broker::{BrokerError, Examination, Patience, connect, examine},
    job::{Arch, Urgency},
    settings::{BrokerSettings, Settings},
    topology::{script_queue, seed_queue},
};

use super::{
    examination::Subject,
    findings::Findings,
    management::{self, Told},
};

/// How long a broker may take to be there.
const PATIENCE: Patience = Patience::For(Duration::from_secs(5));
/// The oldest RabbitMQ that the queues' arguments work on.
const OLDEST: (u32, u32) = (3, 10);

/// Looks at the broker of the settings.
pub(super) async fn look(subject: &Subject<'_>, findings: &mut Findings) {
    let settings = subject.settings;
    let url = &settings.broker.url;
    if !(url.starts_with("amqp://") || url.starts_with("amqps://")) {
        let identity = subject.identity.clone();
        return match connect(&settings.broker, subject.home, identity, PATIENCE).await {
            Ok(broker) => {
                broker.close().await;
                findings.ok("broker", format!("{url} on this machine; its queues make themselves"));
            }
            Err(error) => refused(&error, findings),
        };
    }
    let queues = queues(settings.worker.arch);
    match examine(&settings.broker, &subject.identity, &queues, PATIENCE).await {
        Ok(found) => {
            let told =
                (!settings.broker.management.is_empty()).then(|| management::ask(&settings.broker));
            tell(settings, &found, told, findings);
        }
        Err(error) => refused(&error, findings),
    }
}

/// One queue of each kind that a worker takes from: what may be done with one may be done with its
/// siblings.
fn queues(arch: Arch) -> Vec<String> {
    let urgency = Urgency::Normal;
    vec![seed_queue(arch, urgency), script_queue(Some(arch), urgency), script_queue(None, urgency)]
}

fn refused(error: &BrokerError, findings: &mut Findings) {
    let advice = "correct broker.url, or start the broker; workers wait for it";
    findings.fail_with(error.exit_code(), "broker", error, advice);
}

fn tell(
    settings: &Settings,
    found: &Examination,
    told: Option<Result<Told, String>>,
    findings: &mut Findings,
) {
    let Examination { url, encrypted, .. } = found;
    if *encrypted || is_near(url) {
        findings.ok("broker", url);
    } else {
        let advice = "passwords and draws cross the network in the clear: deploy/rabbitmq has TLS";
        findings.warn("broker", url, advice);
    }
    let told = match told {
        Some(Ok(told)) => Some(told),
        Some(Err(why)) => {
            findings.unverified("management", why, "correct broker.management, or leave it empty");
            None
        }
        None => None,
    };
    version(found.version.as_deref().or(told.as_ref().map(|told| told.version.as_str())), findings);
    timeout(&settings.broker, told.as_ref(), findings);
    topology(found, findings);
    permissions(found, findings);
}

/// Whether a URL is of this machine.
fn is_near(url: &str) -> bool {
    let place = url.split_once("://").map_or(url, |(_, rest)| rest);
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    ["localhost", "127.", "[::1]"].iter().any(|near| place.starts_with(near))
}

fn version(version: Option<&str>, findings: &mut Findings) {
    let Some(version) = version else {
        let advice = "RabbitMQ does not tell it behind TLS: set broker.management to have it asked";
        findings.unverified("version", "RabbitMQ 3.10 or later is needed", advice);
        return;
    };
    let mut numbers = version.split(['.', '-', '+']).map_while(|part| part.parse::<u32>().ok());
    let found = format!("RabbitMQ {version}");
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) >= OLDEST => findings.ok("version", found),
        (Some(_), Some(_)) => {
            let advice = "its quorum queues lack what RigQueue relies on: 3.10 or later is needed";
            findings.fail("version", found, advice);
        }
        _ => findings.unverified("version", found, "3.10 or later is needed"),
    }
}

/// The acknowledgement timeout. RabbitMQ tells a client neither over AMQP nor through the
/// management API what its own configuration says; only policies can be read.
fn timeout(settings: &BrokerSettings, told: Option<&Told>, findings: &mut Findings) {
    const CHECK: &str = "timeout";
    let allowed = settings.consumer_timeout;
    match told.and_then(|told| told.consumer_timeout) {
        Some(policy) if policy < allowed => findings.fail(
            CHECK,
            format!("a policy takes deliveries back after {policy}; broker.consumer_timeout is {allowed}"),
            format!("jobs of that length would run twice: raise the policy, or lower the setting to {policy}"),
        ),
        Some(policy) => findings.ok(CHECK, format!("{policy} by policy, {allowed} in the settings")),
        None => findings.unverified(
            CHECK,
            format!("broker.consumer_timeout is {allowed}; what the broker itself allows (30 min unless set) it does not tell"),
            "on its machine: rabbitmqctl eval 'application:get_env(rabbit, consumer_timeout).' (in ms)",
        ),
    }
}

fn topology(found: &Examination, findings: &mut Findings) {
    const CHECK: &str = "topology";
    let report = &found.topology;
    if !report.missing.is_empty() {
        let found = format!("missing in the broker: {}", report.missing.join(", "));
        findings.fail(CHECK, found, "run `producer topology apply` as the broker's administrator");
    }
    for (name, why) in &report.conflicting {
        let advice = "delete it while it is empty, then `producer topology apply`";
        findings.fail(CHECK, format!("{name}: {why}"), advice);
    }
    if report.is_sound() {
        findings.ok(CHECK, format!("{} exchanges and queues", report.present.len()));
    }
}

fn permissions(found: &Examination, findings: &mut Findings) {
    const CHECK: &str = "permissions";
    let user = &found.user;
    let mut granted = Vec::new();
    for (what, may) in &found.permissions {
        match may {
            Some(Ok(())) => granted.push(what.as_str()),
            Some(Err(why)) => findings.fail(
                CHECK,
                format!("user {user} may not {what}: {why}"),
                "give it a worker's permissions: deploy/rabbitmq/permissions",
            ),
            None => findings.unverified(
                CHECK,
                format!("whether user {user} may {what}: messages wait there, and none is taken"),
                "look again when it is empty",
            ),
        }
    }
    if !granted.is_empty() {
        findings.ok(CHECK, format!("user {user} may {}", granted.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_versions_fail_and_odd_ones_are_left_open() {
        for (text, state) in [
            ("3.9.29", "FAILED"),
            ("3.10.0", "ok"),
            ("3.13.7-rc.1", "ok"),
            ("4.1.0+5.gabc", "ok"),
            ("what", "unverified"),
        ] {
            let mut findings = Findings::default();
            version(Some(text), &mut findings);
            assert!(findings.text().starts_with(state), "{text}: {}", findings.text());
        }
    }

    #[test]
    fn a_policy_below_the_setting_fails() {
        let settings = BrokerSettings::at("amqp://hub/v");
        let told = |seconds| Told {
            version: String::new(),
            consumer_timeout: Some(shared::settings::Seconds(seconds)),
        };
        let mut findings = Findings::default();
        timeout(&settings, Some(&told(1800.0)), &mut findings);
        assert_eq!(findings.exit_code(), 2);
        let mut findings = Findings::default();
        timeout(&settings, Some(&told(14_400.0)), &mut findings);
        assert!(findings.text().starts_with("ok"));
        let mut findings = Findings::default();
        timeout(&settings, None, &mut findings);
        assert!(findings.text().starts_with("unverified"));
    }

    #[test]
    fn what_is_near_needs_no_tls() {
        for near in ["amqp://ann@localhost:5672/v", "amqp://127.0.0.1", "amqp://u@[::1]:5672"] {
            assert!(is_near(near), "{near}");
        }
        assert!(!is_near("amqp://127@hub.lan/v"));
    }
}
