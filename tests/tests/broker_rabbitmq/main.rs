//! The broker on a real, private RabbitMQ. Skipped, with a message, where it is not installed.

#![expect(clippy::unwrap_used, reason = "these are tests")]

#[path = "../../../shared/tests/conformance/mod.rs"]
#[macro_use]
mod conformance;
mod faults;
mod losses;
mod tls;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use shared::{
    broker::{Broker, BrokerError, Delivery, Identity, Patience, RabbitBroker, Topology},
    settings::BrokerSettings,
    wire::Message,
};
use tests::rabbitmq::{Cluster, Options, PASSWORD, RabbitNode, USER, unless_absent};
use tokio::time::timeout;

const QUEUE: &str = "jobs.seed.cpu";
const COMMAND: Patience = Patience::For(Duration::from_secs(5));

/// A vhost of the shared node with the topology in it.
async fn place() -> Option<(&'static RabbitNode, String, String)> {
    let node = unless_absent(RabbitNode::shared())?;
    let vhost = node.add_vhost().unwrap();
    let url = node.url(&vhost);
    apply(&url).await;
    Some((node, vhost, url))
}

/// The settings of a broker that is nothing special.
fn at(url: &str) -> BrokerSettings {
    BrokerSettings::at(url)
}

async fn apply(url: &str) {
    let topology = Topology::connect(&at(url), COMMAND).await.unwrap();
    let report = topology.apply().await.unwrap();
    assert!(report.is_sound(), "{report:?}");
    topology.close().await;
}

/// A vhost for one case of the conformance suite.
struct Vhost(String);

impl conformance::Site for Vhost {
    fn url(&self) -> String {
        self.0.clone()
    }
}

async fn vhost() -> Option<Vhost> {
    place().await.map(|(_, _, url)| Vhost(url))
}

conformance!(vhost().await);

fn identity(instance: &str) -> Identity {
    Identity { node: "rig1".to_owned(), instance: instance.to_owned(), role: "worker" }
}

async fn service(url: &str) -> Arc<RabbitBroker> {
    Arc::new(RabbitBroker::connect(&at(url), identity("a"), Patience::Forever).await.unwrap())
}

fn message(number: usize) -> Message {
    let headers = [("run", "r1"), ("schema", "1")];
    Message {
        kind: "Job".to_owned(),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        body: number.to_be_bytes().to_vec(),
    }
}

fn number(delivery: &Delivery) -> usize {
    usize::from_be_bytes(delivery.message.body.as_slice().try_into().unwrap())
}

/// Waits for what must come; a minute is "never" on any machine.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), future).await.unwrap_or_else(|_| panic!("{what} never came"))
}

/// Takes until something is there.
async fn take(broker: &dyn Broker, queue: &str) -> Delivery {
    let taking = async {
        loop {
            if let Some(delivery) = broker.take(queue).await.unwrap() {
                break delivery;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("a delivery", taking).await
}

#[test]
fn the_node_is_of_the_version_that_was_asked_for() {
    let Some(node) = unless_absent(RabbitNode::shared()) else { return };
    let (says, asked) = node.versions().unwrap();
    assert_eq!(asked.unwrap_or_else(|| says.clone()), says);
    assert!(says.starts_with("3.") || says.starts_with("4."), "{says}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_comes_out_as_it_went_in() {
    let Some((node, vhost, url)) = place().await else { return };
    let broker = service(&url).await;
    broker.publish(QUEUE, message(7)).await.unwrap();
    assert_eq!(broker.depth(QUEUE).await.unwrap(), Some(1));
    let delivery = broker.take(QUEUE).await.unwrap().unwrap();
    assert_eq!(delivery.message, message(7));
    assert!(!delivery.redelivered);
    assert_eq!(broker.take(QUEUE).await.unwrap().map(|_| ()), None);
    broker.ack(vec![delivery.tag.clone()]).await.unwrap();
    // Twice is once.
    broker.ack(vec![delivery.tag]).await.unwrap();
    broker.publish(QUEUE, message(8)).await.unwrap();
    // What people see at the management UI.
    let shown = node.ctl(&["list_connections", "-p", &vhost, "client_properties"]);
    let shown = shown.or_else(|_| node.ctl(&["list_connections", "client_properties"])).unwrap();
    assert!(shown.contains("rigqueue worker rig1/a"), "{shown}");
    broker.close().await;
    let again = service(&url).await;
    let delivery = take(&*again, QUEUE).await;
    assert_eq!(number(&delivery), 8, "the first was acknowledged for good");
    again.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_acknowledged_comes_back_when_the_session_ends() {
    let Some((_, _, url)) = place().await else { return };
    let broker = service(&url).await;
    broker.publish_all((0..3).map(|n| (QUEUE.to_owned(), message(n))).collect()).await.unwrap();
    for _ in 0..3 {
        // The tags are dropped: the session still holds the deliveries.
        assert!(broker.take(QUEUE).await.unwrap().is_some());
    }
    assert!(broker.take(QUEUE).await.unwrap().is_none());
    broker.close().await;
    assert!(matches!(broker.take(QUEUE).await, Err(BrokerError::Unreachable { .. })));
    let other = service(&url).await;
    let mut back = BTreeSet::new();
    for _ in 0..3 {
        let delivery = take(&*other, QUEUE).await;
        assert!(delivery.redelivered);
        back.insert(number(&delivery));
        other.ack(vec![delivery.tag]).await.unwrap();
    }
    assert_eq!(back, BTreeSet::from([0, 1, 2]));
    other.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_says_what_to_change_and_never_the_password() {
    let Some((node, vhost, url)) = place().await else { return };
    node.add_user("ann", "Pflaumenmus-42").unwrap();
    let closed = tests::kept::free_port().unwrap();
    let web = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let not_amqp = web.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut guest in web.incoming().flatten() {
            std::io::Write::write_all(&mut guest, b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
            // To close with the guest's words unread would reset the connection, and with it
            // lose the answer: the guest closes first.
            std::io::copy(&mut guest, &mut std::io::sink()).ok();
        }
    });
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap();
    let port = node.port();
    let cases = [
        (url.replace(PASSWORD, "Pflaumenmus-42"), true, "password"),
        (node.url("nowhere"), true, "add_vhost 'nowhere'"),
        (node.url_as("ann", "Pflaumenmus-42", &vhost), true, "set_permissions"),
        (format!("amqp://{USER}:{PASSWORD}@127.0.0.1:{closed}/x"), false, "nothing listens"),
        (format!("amqp://{USER}:{PASSWORD}@nosuchhost.invalid/x"), false, "does not resolve"),
        (format!("amqp://{USER}:{PASSWORD}@{not_amqp}/x"), false, "does not speak AMQP"),
        (
            format!("amqp://{USER}:{PASSWORD}@{silent}/x?connection_timeout=300"),
            false,
            "did not greet",
        ),
        (format!("amqps://{USER}:{PASSWORD}@127.0.0.1:{port}/x"), false, "TLS"),
    ];
    let brief = Patience::For(Duration::from_secs(2));
    for (url, refused, hint) in cases {
        // A service waits for a broker that is not there, but not for one that says no.
        let patience = if refused { Patience::Forever } else { brief };
        let settings = at(&url);
        let connecting = RabbitBroker::connect(&settings, identity("a"), patience);
        let error = soon("the refusal", connecting).await.map(drop).unwrap_err();
        let text = format!("{error} {error:?}");
        assert_eq!(matches!(error, BrokerError::Refused { .. }), refused, "{text}");
        assert!(refused || matches!(error, BrokerError::Unreachable { .. }), "{text}");
        assert!(text.contains(hint), "'{hint}' is not in: {text}");
        assert!(!text.contains(PASSWORD) && !text.contains("Pflaumenmus"), "{text}");
    }
    let broker = service(&url).await;
    assert!(!format!("{broker:?}").contains(PASSWORD));
    let log = std::fs::read_to_string(node.log_path()).unwrap();
    assert!(!log.contains(PASSWORD));
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_without_permission_is_told_which() {
    let Some((node, vhost, _)) = place().await else { return };
    node.add_user("bea", "pw").unwrap();
    node.grant("bea", &vhost, "^results.*").unwrap();
    let broker = service(&node.url_as("bea", "pw", &vhost)).await;
    for result in [
        broker.publish(QUEUE, message(1)).await,
        broker.take(QUEUE).await.map(drop),
        broker.subscribe(QUEUE, 1).await.map(drop),
        broker.listen().await.map(drop),
    ] {
        match result {
            Err(BrokerError::Refused { why, .. }) => assert!(why.contains("bea"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    broker.close().await;
}

#[tokio::test]
async fn questions_about_a_missing_queue_use_nothing_up() {
    let Some(node) = unless_absent(RabbitNode::shared()) else { return };
    let vhost = node.add_vhost().unwrap();
    let broker = service(&node.url(&vhost)).await;
    // More than a connection has channels: each refusal costs one.
    for _ in 0..2500 {
        assert_eq!(soon("an answer", broker.depth(QUEUE)).await.unwrap(), None);
    }
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_topology_is_named_with_the_command_that_makes_it() {
    let Some(node) = unless_absent(RabbitNode::shared()) else { return };
    let vhost = node.add_vhost().unwrap();
    let url = node.url(&vhost);
    let broker = service(&url).await;
    let unknown = |result: Result<(), BrokerError>, queue: &str| {
        let error = result.unwrap_err();
        assert!(matches!(&error, BrokerError::NoQueue { queue: q, .. } if q == queue), "{error:?}");
        assert!(error.to_string().contains("producer topology apply"), "{error}");
    };
    for _ in 0..2 {
        unknown(broker.publish(QUEUE, message(1)).await, QUEUE);
        unknown(broker.take(QUEUE).await.map(drop), QUEUE);
        unknown(broker.subscribe(QUEUE, 4).await.map(drop), QUEUE);
        unknown(broker.broadcast(message(1)).await, "rigqueue.events");
        unknown(broker.listen().await.map(drop), "rigqueue.events");
        assert_eq!(broker.depth(QUEUE).await.unwrap(), None);
    }
    apply(&url).await;
    // The exchange is there, the queue is not: unroutable.
    unknown(broker.publish("jobs.seed.vax", message(1)).await, "jobs.seed.vax");
    let mixed = vec![(QUEUE.to_owned(), message(1)), ("jobs.seed.vax".to_owned(), message(2))];
    unknown(broker.publish_all(mixed).await, "jobs.seed.vax");
    broker.publish(QUEUE, message(3)).await.unwrap();
    broker.broadcast(message(4)).await.unwrap();
    assert_eq!(broker.depth(QUEUE).await.unwrap(), Some(2));
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_topology_is_applied_once_and_checked_by_name() {
    let Some(node) = unless_absent(RabbitNode::shared()) else { return };
    let vhost = node.add_vhost().unwrap();
    let topology = Topology::connect(&at(&node.url(&vhost)), COMMAND).await.unwrap();
    let all = shared::topology::durable_queues().len() + 4;
    let report = topology.check().await.unwrap();
    assert_eq!((report.missing.len(), report.is_sound()), (all, false));
    assert_eq!(topology.apply().await.unwrap().created.len(), all);
    let again = topology.apply().await.unwrap();
    assert_eq!((again.present.len(), again.created.len()), (all, 0), "{again:?}");
    node.delete(&format!("queues/{vhost}/results.dead")).unwrap();
    let report = topology.check().await.unwrap();
    assert_eq!(report.missing, ["results.dead"]);
    assert_eq!(topology.apply().await.unwrap().created, ["results.dead"]);
    assert!(topology.check().await.unwrap().is_sound());
    topology.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_broker_gives_up_on_is_dead_lettered_for_the_ledger() {
    let Some((_, _, url)) = place().await else { return };
    let broker = service(&url).await;
    broker.publish(QUEUE, message(5)).await.unwrap();
    // A hundred workers die of it, one after the other: each takes it by a session and goes.
    let uri = url.as_str();
    let connection = lapin::Connection::connect(uri, lapin::ConnectionProperties::default());
    let connection = connection.await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let reject = lapin::options::BasicNackOptions { requeue: true, multiple: false };
    let get = lapin::options::BasicGetOptions::default();
    let mut deliveries = 0;
    let dead = loop {
        match channel.basic_get(QUEUE.into(), get).await.unwrap() {
            Some(message) => {
                deliveries += 1;
                message.nack(reject).await.unwrap();
            }
            None => {
                if let Some(dead) = broker.take("results.dead").await.unwrap() {
                    break dead;
                }
            }
        }
        assert!(deliveries <= 102, "the delivery limit does not hold");
    };
    assert_eq!(dead.message.body, message(5).body);
    assert_eq!(dead.message.headers.get("schema").map(String::as_str), Some("1"));
    assert_eq!(deliveries, 101, "the first delivery and 100 that came back");
    broker.ack(vec![dead.tag]).await.unwrap();
    connection.close(200, "bye".into()).await.unwrap();
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_tasks_take_ten_thousand_pipelined_jobs_exactly_once() {
    let Some((_, _, url)) = place().await else { return };
    let broker = service(&url).await;
    let count = 10_000;
    let started = std::time::Instant::now();
    let messages = (0..count).map(|n| (QUEUE.to_owned(), message(n))).collect();
    broker.publish_all(messages).await.unwrap();
    println!("{count} published and confirmed in {:?}", started.elapsed());
    assert_eq!(broker.depth(QUEUE).await.unwrap(), Some(count as u64));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let started = std::time::Instant::now();
    let takers = (0..4).map(|_| {
        let (broker, seen) = (Arc::clone(&broker), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Some(delivery) = broker.take(QUEUE).await.unwrap() {
                seen.lock().unwrap().push(number(&delivery));
                broker.ack(vec![delivery.tag]).await.unwrap();
            }
        })
    });
    for taker in takers.collect::<Vec<_>>() {
        soon("the end of the queue", taker).await.unwrap();
    }
    println!("{count} taken and acknowledged by 4 tasks in {:?}", started.elapsed());
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    assert_eq!(seen.len(), count);
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), count);
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_hands_over_in_order_within_its_prefetch() {
    let Some((_, _, url)) = place().await else { return };
    let broker = service(&url).await;
    let count = 500;
    let mut subscription = broker.subscribe("results.seed", 50).await.unwrap();
    let messages = (0..count).map(|n| ("results.seed".to_owned(), message(n))).collect();
    broker.publish_all(messages).await.unwrap();
    let mut numbers = Vec::new();
    let mut held = Vec::new();
    while numbers.len() < count {
        let batch = soon("a batch", subscription.next(20)).await.unwrap();
        assert!(!batch.is_empty() && batch.len() <= 20);
        numbers.extend(batch.iter().map(number));
        held.extend(batch.into_iter().map(|delivery| delivery.tag));
        assert!(held.len() <= 50, "more than the prefetch is out");
        // Every other one first, then the rest: holes and prefixes both.
        if held.len() >= 20 {
            let (odd, even): (Vec<_>, Vec<_>) =
                held.drain(..).enumerate().partition(|(index, _)| index % 2 == 1);
            for half in [odd, even] {
                broker.ack(half.into_iter().map(|(_, tag)| tag).collect()).await.unwrap();
            }
        }
    }
    assert_eq!(numbers, (0..count).collect::<Vec<_>>());
    broker.ack(held).await.unwrap();
    drop(subscription);
    broker.close().await;
    let again = service(&url).await;
    assert_eq!(again.depth("results.seed").await.unwrap(), Some(0));
    again.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_goes_on_after_every_connection_was_cut() {
    let Some((node, vhost, url)) = place().await else { return };
    let broker = service(&url).await;
    let mut subscription = broker.subscribe("results.seed", 10).await.unwrap();
    let mut listener = broker.listen().await.unwrap();
    broker.publish("results.seed", message(1)).await.unwrap();
    broker.publish(QUEUE, message(2)).await.unwrap();
    let first = soon("the first", subscription.next(10)).await.unwrap().remove(0);
    let job = broker.take(QUEUE).await.unwrap().unwrap();

    node.close_all_connections(&vhost).unwrap();
    // Both came back with the session, and neither old tag acknowledges its redelivery.
    let again = soon("the redelivery", subscription.next(10)).await.unwrap().remove(0);
    assert!(again.redelivered && number(&again) == 1);
    let job_again = take(&*broker, QUEUE).await;
    assert!(job_again.redelivered && number(&job_again) == 2);
    broker.ack(vec![first.tag, job.tag]).await.unwrap();
    broker.ack(vec![again.tag, job_again.tag]).await.unwrap();

    let hearing = tokio::spawn(async move { listener.next().await });
    let heard = async {
        // Until the listener is set up again, what is broadcast is for nobody.
        while !hearing.is_finished() {
            broker.broadcast(message(3)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        hearing.await.unwrap().unwrap()
    };
    assert_eq!(soon("the event", heard).await, message(3));
    broker.publish("results.seed", message(4)).await.unwrap();
    let next = soon("the next", subscription.next(10)).await.unwrap();
    assert_eq!(next.iter().map(number).collect::<Vec<_>>(), [4]);
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_queue_is_told_and_the_subscription_goes_on_when_it_is_back() {
    let Some((node, vhost, url)) = place().await else { return };
    let broker = service(&url).await;
    let mut subscription = broker.subscribe("results.seed", 10).await.unwrap();
    node.delete(&format!("queues/{vhost}/results.seed")).unwrap();
    let error = soon("the end", subscription.next(10)).await.map(drop).unwrap_err();
    assert!(matches!(error, BrokerError::NoQueue { .. }), "{error:?}");
    let error = broker.publish("results.seed", message(1)).await.unwrap_err();
    assert!(matches!(error, BrokerError::NoQueue { .. }), "{error:?}");
    apply(&url).await;
    broker.publish("results.seed", message(2)).await.unwrap();
    let batch = soon("the message", subscription.next(10)).await.unwrap();
    assert_eq!(batch.iter().map(number).collect::<Vec<_>>(), [2]);
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_listener_of_every_session_hears_an_event() {
    let Some((_, _, url)) = place().await else { return };
    let one = service(&url).await;
    let two = RabbitBroker::connect(&at(&url), identity("b"), Patience::Forever).await.unwrap();
    let mut listeners =
        [one.listen().await.unwrap(), one.listen().await.unwrap(), two.listen().await.unwrap()];
    for n in 0..100 {
        two.broadcast(message(n)).await.unwrap();
    }
    for listener in &mut listeners {
        for n in 0..100 {
            assert_eq!(soon("the event", listener.next()).await.unwrap(), message(n));
        }
    }
    one.close().await;
    two.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_dropped_midway_loses_nothing() {
    let Some((_, _, url)) = place().await else { return };
    let broker = service(&url).await;
    let count = 200;
    let messages = (0..count).map(|n| (QUEUE.to_owned(), message(n))).collect();
    broker.publish_all(messages).await.unwrap();
    let mut seen = BTreeSet::new();
    let mut wait = 0;
    let all = async {
        while seen.len() < count {
            wait = (wait + 37) % 2_000;
            let wait = Duration::from_micros(wait);
            if let Ok(Ok(Some(delivery))) = timeout(wait, broker.take(QUEUE)).await {
                seen.insert(number(&delivery));
                broker.ack(vec![delivery.tag]).await.unwrap();
            }
        }
    };
    soon("every message", all).await;
    let until_empty = async {
        while broker.depth(QUEUE).await.unwrap() != Some(0) {
            take(&*broker, QUEUE).await;
        }
    };
    soon("an empty queue", until_empty).await;
    broker.close().await;
}
