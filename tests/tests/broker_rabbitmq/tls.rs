//! `amqps://` with a private authority, on a real node that verifies its clients as well.

use std::{fs, path::Path, sync::LazyLock};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tests::kept::Keeper;

use super::*;

/// An authority of one's own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes a certificate for a name, and its key, to `NAME.pem` and `NAME.key`.
    fn issue(&self, folder: &Path, name: &str, host: &str, expired: bool) {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        if expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 12, 31);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

/// The certificates of these tests and the node that has one of them.
struct Site {
    /// Whose folder is removed at this process's end, however it ends: there are keys in it.
    keeper: Keeper,
    node: RabbitNode,
}

impl Site {
    /// A node whose certificate is for `localhost`.
    fn start(expired: bool) -> Option<Self> {
        let keeper = Keeper::start("rigqueue-tls-").unwrap();
        let folder = keeper.folder();
        let ours = Authority::new("The rigs' own");
        fs::write(folder.join("ca.pem"), ours.0.pem()).unwrap();
        ours.issue(folder, "server", "localhost", expired);
        ours.issue(folder, "client", "rig1", false);
        ours.issue(folder, "late", "rig2", true);
        let theirs = Authority::new("Somebody else's");
        fs::write(folder.join("other-ca.pem"), theirs.0.pem()).unwrap();
        theirs.issue(folder, "stranger", "rig3", false);
        let options = Options { tls: Some(folder.to_owned()), ..Options::default() };
        let node = unless_absent(RabbitNode::start(&options))?;
        Some(Self { keeper, node })
    }

    fn settings(&self, host: &str, ca: &str, own: &str) -> BrokerSettings {
        let path = |name: &str| self.keeper.folder().join(name).display().to_string();
        let mut settings = BrokerSettings::at(self.node.tls_url(USER, PASSWORD, host, "%2f"));
        if !ca.is_empty() {
            settings.ca = path(ca);
        }
        if !own.is_empty() {
            settings.certificate = path(&format!("{own}.pem"));
            settings.key = path(&format!("{own}.key"));
        }
        settings
    }
}

static SITE: LazyLock<Option<Site>> = LazyLock::new(|| Site::start(false));

/// What a service is told, which waits for ever only for what may come.
async fn refusal(settings: &BrokerSettings) -> BrokerError {
    let connecting = RabbitBroker::connect(settings, identity("a"), Patience::Forever);
    soon("the refusal", connecting).await.map(drop).unwrap_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_show_their_certificates_and_messages_pass() {
    let Some(site) = &*SITE else { return };
    let settings = site.settings("localhost", "ca.pem", "client");
    let topology = Topology::connect(&settings, COMMAND).await.unwrap();
    assert!(topology.apply().await.unwrap().is_sound());
    topology.close().await;
    let broker = RabbitBroker::connect(&settings, identity("a"), Patience::Forever).await.unwrap();
    // More than one TLS record and more than lapin's buffers.
    let large = Message { body: vec![7; 900_000], ..message(1) };
    let all = (0..8).map(|_| (QUEUE.to_owned(), large.clone())).collect();
    soon("the confirms", broker.publish_all(all)).await.unwrap();
    for _ in 0..8 {
        let delivery = take(&broker, QUEUE).await;
        assert_eq!(delivery.message, large);
        broker.ack(vec![delivery.tag]).await.unwrap();
    }
    // A session that was cut is rebuilt with TLS as well.
    site.node.close_all_connections("/").unwrap();
    broker.publish(QUEUE, message(9)).await.unwrap();
    assert_eq!(number(&take(&broker, QUEUE).await), 9);
    let shown = site.node.ctl(&["list_connections", "ssl", "peer_cert_subject"]).unwrap();
    assert!(shown.contains("true") && shown.contains("client"), "{shown}");
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_side_refuses_what_it_should_and_says_what_to_change() {
    let Some(site) = &*SITE else { return };
    for (host, ca, own, parts) in [
        // The broker's certificate, as we see it.
        ("localhost", "other-ca.pem", "client", &["not signed by", "other-ca.pem", "[broker] ca"]),
        ("127.0.0.1", "ca.pem", "client", &["not for the name '127.0.0.1'", "localhost", "URL"]),
        ("localhost", "", "client", &["unknown to this system", "PEM file", "[broker] ca"]),
        // Ours, as the broker sees it.
        ("localhost", "ca.pem", "", &["certificate of this client's own", "[broker]", "key"]),
        ("localhost", "ca.pem", "stranger", &["does not accept", "stranger.pem", "sign it"]),
        ("localhost", "ca.pem", "late", &["does not accept", "late.pem", "renew it"]),
    ] {
        let error = refusal(&site.settings(host, ca, own)).await;
        let text = error.to_string();
        assert!(matches!(error, BrokerError::Refused { .. }), "{host} {ca} {own}: {error:?}");
        assert_eq!(error.exit_code(), shared::exit_codes::UNREACHABLE);
        for part in parts {
            assert!(text.contains(part), "'{part}' is not in: {text}");
        }
        assert!(!text.contains(PASSWORD) && !text.contains('\n'), "{text}");
    }
    // And without TLS at all on the port that wants it.
    let plain = site.settings("127.0.0.1", "", "").url.replace("amqps", "amqp");
    let brief = Patience::For(Duration::from_secs(2));
    let error = RabbitBroker::connect(&at(&plain), identity("a"), brief).await.unwrap_err();
    assert!(error.to_string().contains("amqps://"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_certificate_is_told_from_a_wrong_one() {
    let Some(site) = Site::start(true) else { return };
    let error = refusal(&site.settings("localhost", "ca.pem", "client")).await;
    let text = error.to_string();
    assert!(text.contains("has expired") && text.contains("renew it"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_none_of_that_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new("ours");
    fs::write(folder.path().join("ca.pem"), ours.0.pem()).unwrap();
    fs::write(folder.path().join("empty.pem"), "").unwrap();
    ours.issue(folder.path(), "one", "one", false);
    ours.issue(folder.path(), "two", "two", false);
    let path = |name: &str| match name {
        "" => String::new(),
        name => folder.path().join(name).display().to_string(),
    };
    for (scheme, ca, certificate, key, setting, part) in [
        ("amqps", "none.pem", "", "", "ca", "No such file"),
        ("amqps", "empty.pem", "", "", "ca", "no certificate"),
        ("amqps", "one.key", "", "", "ca", "no certificate"),
        ("amqps", "ca.pem", "one.pem", "", "certificate", "[broker] key"),
        ("amqps", "ca.pem", "", "one.key", "key", "[broker] certificate"),
        ("amqps", "ca.pem", "one.pem", "two.key", "key", "does not go with"),
        ("amqps", "ca.pem", "one.pem", "one.pem", "key", "no private key"),
        ("amqp", "ca.pem", "", "", "ca", "amqps://"),
    ] {
        let settings = BrokerSettings {
            ca: path(ca),
            certificate: path(certificate),
            key: path(key),
            ..BrokerSettings::at(format!("{scheme}://localhost/x"))
        };
        let error = refusal(&settings).await;
        let text = error.to_string();
        assert!(
            matches!(&error, BrokerError::Certificate { setting: named, .. } if *named == setting),
            "{error:?}"
        );
        assert!(text.contains(part) && !text.contains('\n'), "'{part}' is not in: {text}");
        assert_eq!(error.exit_code(), shared::exit_codes::USAGE);
    }
}
