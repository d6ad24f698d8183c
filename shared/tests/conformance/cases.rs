//! The cases.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use shared::{
    broker::{BrokerError, Listener, Owner, Patience, claim_ledger, owns_ledger},
    settings::BrokerSettings,
    topology::{RESULTS_SEED, durable_queues},
    wire::Message,
};

use tokio::sync::watch;

use super::{
    Site, depth_becomes, next_n, number, numbered, numbers, processes::Other, publish, session,
    soon,
};

const QUEUE: &str = "jobs.seed.cpu";

pub(crate) async fn a_message_comes_back_as_it_was(site: &dyn Site) {
    let broker = session(site, "a").await;
    let mut message = numbered(7);
    message.kind = "Outcome".to_owned();
    message.body = (0..=255).cycle().take(70_000).collect();
    for (name, value) in [("empty", ""), ("last_error", "Größe \"π\"\n\\ {}: 0"), ("schema", "1")]
    {
        message.headers.insert(name.to_owned(), value.to_owned());
    }
    let empty = Message { kind: "Bell".to_owned(), ..Message::default() };
    for message in [message, empty] {
        broker.publish(QUEUE, message.clone()).await.unwrap();
        let delivery = broker.take(QUEUE).await.unwrap().unwrap();
        assert_eq!(delivery.message, message);
        assert_eq!(delivery.queue, QUEUE);
        assert!(!delivery.redelivered);
        broker.ack(vec![delivery.tag]).await.unwrap();
    }
}

pub(crate) async fn messages_leave_in_the_order_they_came(site: &dyn Site) {
    let broker = session(site, "a").await;
    publish(&*broker, QUEUE, 0..50).await;
    for number in 50..60 {
        broker.publish(QUEUE, numbered(number)).await.unwrap();
    }
    publish(&*broker, "jobs.seed.cpu.high", [1000]).await;
    for expected in 0..60 {
        let delivery = broker.take(QUEUE).await.unwrap().unwrap();
        assert_eq!(number(&delivery.message), expected);
        broker.ack(vec![delivery.tag]).await.unwrap();
    }
}

pub(crate) async fn an_empty_queue_has_nothing_to_take(site: &dyn Site) {
    let broker = session(site, "a").await;
    assert!(broker.take(QUEUE).await.unwrap().is_none());
    publish(&*broker, QUEUE, [1]).await;
    let held = broker.take(QUEUE).await.unwrap().unwrap();
    assert!(broker.take(QUEUE).await.unwrap().is_none());
    broker.ack(vec![held.tag]).await.unwrap();
    assert!(broker.take(QUEUE).await.unwrap().is_none());
    broker.publish_all(Vec::new()).await.unwrap();
    broker.ack(Vec::new()).await.unwrap();
}

pub(crate) async fn depth_counts_what_waits(site: &dyn Site) {
    let broker = session(site, "a").await;
    depth_becomes(&*broker, QUEUE, 0).await;
    publish(&*broker, QUEUE, 0..5).await;
    depth_becomes(&*broker, QUEUE, 5).await;
    let held = broker.take(QUEUE).await.unwrap().unwrap();
    depth_becomes(&*broker, QUEUE, 4).await;
    broker.ack(vec![held.tag]).await.unwrap();
    depth_becomes(&*broker, QUEUE, 4).await;
    depth_becomes(&*broker, "jobs.seed.cpu.low", 0).await;
}

pub(crate) async fn what_a_closed_session_held_comes_back(site: &dyn Site) {
    let (a, b) = (session(site, "a").await, session(site, "b").await);
    publish(&*a, QUEUE, 0..5).await;
    let first = a.take(QUEUE).await.unwrap().unwrap();
    for _ in 1..4 {
        assert!(a.take(QUEUE).await.unwrap().is_some());
    }
    a.ack(vec![first.tag]).await.unwrap();
    let mut subscription = b.subscribe(QUEUE, 10).await.unwrap();
    assert_eq!(numbers(&next_n(&mut *subscription, 1).await), [4]);
    a.close().await;
    let back = next_n(&mut *subscription, 3).await;
    assert_eq!(BTreeSet::from_iter(numbers(&back)), BTreeSet::from([1, 2, 3]));
    assert!(back.iter().all(|delivery| delivery.redelivered));
}

pub(crate) async fn what_a_killed_process_held_comes_back(site: &dyn Site) {
    let broker = session(site, "a").await;
    publish(&*broker, QUEUE, 0..4).await;
    let mut other = Other::start(site, &format!("hold {QUEUE} 3"));
    assert_eq!(other.hears(), "holds");
    let mut subscription = broker.subscribe(QUEUE, 10).await.unwrap();
    let rest = next_n(&mut *subscription, 1).await;
    assert_eq!(numbers(&rest), [3]);
    assert!(!rest[0].redelivered);
    other.kill();
    let back = next_n(&mut *subscription, 3).await;
    assert_eq!(BTreeSet::from_iter(numbers(&back)), BTreeSet::from([0, 1, 2]));
    assert!(back.iter().all(|delivery| delivery.redelivered));
    broker.ack(back.into_iter().chain(rest).map(|delivery| delivery.tag).collect()).await.unwrap();
    depth_becomes(&*broker, QUEUE, 0).await;
}

pub(crate) async fn a_stale_tag_acknowledges_nothing(site: &dyn Site) {
    let (a, b) = (session(site, "a").await, session(site, "b").await);
    publish(&*a, QUEUE, [1]).await;
    let stale = a.take(QUEUE).await.unwrap().unwrap().tag;
    a.close().await;
    let mut subscription = b.subscribe(QUEUE, 10).await.unwrap();
    let held = next_n(&mut *subscription, 1).await;
    b.ack(vec![stale.clone()]).await.unwrap();
    let c = session(site, "c").await;
    c.ack(vec![stale]).await.unwrap();
    drop(held);
    b.close().await;
    let mut subscription = c.subscribe(QUEUE, 10).await.unwrap();
    let back = next_n(&mut *subscription, 1).await;
    assert_eq!(numbers(&back), [1]);
    assert!(back[0].redelivered);
}

pub(crate) async fn an_acknowledged_message_is_gone_for_good(site: &dyn Site) {
    let a = session(site, "a").await;
    publish(&*a, QUEUE, 0..3).await;
    let mut tags = Vec::new();
    for _ in 0..2 {
        tags.push(a.take(QUEUE).await.unwrap().unwrap().tag);
    }
    a.ack(tags).await.unwrap();
    a.close().await;
    let b = session(site, "b").await;
    let mut subscription = b.subscribe(QUEUE, 10).await.unwrap();
    assert_eq!(numbers(&next_n(&mut *subscription, 1).await), [2]);
    depth_becomes(&*b, QUEUE, 0).await;
    assert!(b.take(QUEUE).await.unwrap().is_none());
}

pub(crate) async fn no_two_takers_get_the_same_message(site: &dyn Site) {
    const MESSAGES: u32 = 600;
    let mut sessions = Vec::new();
    for instance in ["a", "b", "c"] {
        sessions.push(session(site, instance).await);
    }
    publish(&*sessions[0], QUEUE, 0..MESSAGES).await;
    let takers = sessions.iter().flat_map(|broker| (0..4).map(|_| Arc::clone(broker)));
    let takers: Vec<_> = takers
        .map(|broker| {
            tokio::spawn(async move {
                let mut seen = Vec::new();
                while let Some(delivery) = broker.take(QUEUE).await.unwrap() {
                    assert!(!delivery.redelivered);
                    seen.push(number(&delivery.message));
                    broker.ack(vec![delivery.tag]).await.unwrap();
                }
                seen
            })
        })
        .collect();
    let mut all = Vec::new();
    for taker in takers {
        all.extend(soon("a taker", taker).await.unwrap());
    }
    all.sort_unstable();
    assert_eq!(all, (0..MESSAGES).collect::<Vec<_>>());
}

pub(crate) async fn a_dropped_take_loses_nothing(site: &dyn Site) {
    const MESSAGES: u32 = 200;
    let a = session(site, "a").await;
    publish(&*a, QUEUE, 0..MESSAGES).await;
    let mut seen = Vec::new();
    for patience in 0..MESSAGES {
        let yields = async {
            for _ in 0..patience % 20 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = yields => {}
            taken = a.take(QUEUE) => {
                if let Some(delivery) = taken.unwrap() {
                    seen.push(number(&delivery.message));
                    a.ack(vec![delivery.tag]).await.unwrap();
                }
            }
        }
    }
    a.close().await;
    let b = session(site, "b").await;
    let mut subscription = b.subscribe(QUEUE, 50).await.unwrap();
    while seen.len() < MESSAGES as usize {
        for delivery in next_n(&mut *subscription, 1).await {
            seen.push(number(&delivery.message));
            b.ack(vec![delivery.tag]).await.unwrap();
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..MESSAGES).collect::<Vec<_>>());
    depth_becomes(&*b, QUEUE, 0).await;
}

pub(crate) async fn a_subscription_hands_over_old_and_new_messages(site: &dyn Site) {
    let (a, b) = (session(site, "a").await, session(site, "b").await);
    publish(&*a, QUEUE, 0..3).await;
    let mut subscription = b.subscribe(QUEUE, 100).await.unwrap();
    assert_eq!(numbers(&next_n(&mut *subscription, 3).await), [0, 1, 2]);
    let waits = tokio::spawn(async move { next_n(&mut *subscription, 2).await });
    publish(&*a, QUEUE, [3]).await;
    publish(&*b, QUEUE, [4]).await;
    assert_eq!(numbers(&soon("new messages", waits).await.unwrap()), [3, 4]);
}

pub(crate) async fn a_subscription_keeps_to_its_prefetch(site: &dyn Site) {
    let (a, b) = (session(site, "a").await, session(site, "b").await);
    publish(&*a, QUEUE, 0..5).await;
    let mut subscription = a.subscribe(QUEUE, 3).await.unwrap();
    let held = next_n(&mut *subscription, 3).await;
    assert_eq!(numbers(&held), [0, 1, 2]);
    // The rest waits, for others as well.
    depth_becomes(&*a, QUEUE, 2).await;
    let fourth = b.take(QUEUE).await.unwrap().unwrap();
    assert_eq!(number(&fourth.message), 3);
    b.ack(vec![fourth.tag]).await.unwrap();
    a.ack(vec![held[1].tag.clone()]).await.unwrap();
    assert_eq!(numbers(&next_n(&mut *subscription, 1).await), [4]);
    publish(&*b, QUEUE, 5..12).await;
    depth_becomes(&*b, QUEUE, 7).await;
    a.ack(vec![held[0].tag.clone(), held[2].tag.clone()]).await.unwrap();
    assert_eq!(numbers(&next_n(&mut *subscription, 2).await), [5, 6]);
    depth_becomes(&*b, QUEUE, 5).await;
}

pub(crate) async fn subscriptions_share_a_queue(site: &dyn Site) {
    const MESSAGES: u32 = 1000;
    let mut consumers = Vec::new();
    let (done, _) = watch::channel(0);
    for instance in ["a", "b"] {
        let broker = session(site, instance).await;
        let mut subscription = broker.subscribe(QUEUE, 20).await.unwrap();
        let (done, mut all_done) = (done.clone(), done.subscribe());
        consumers.push(tokio::spawn(async move {
            let mut seen = Vec::new();
            loop {
                tokio::select! {
                    deliveries = subscription.next(8) => {
                        let deliveries = deliveries.unwrap();
                        seen.extend(numbers(&deliveries));
                        let count = deliveries.len();
                        let tags = deliveries.into_iter().map(|delivery| delivery.tag).collect();
                        broker.ack(tags).await.unwrap();
                        done.send_modify(|total| *total += count);
                    }
                    () = finished(&mut all_done, MESSAGES as usize) => return seen,
                }
            }
        }));
    }
    let producer = session(site, "producer").await;
    for chunk in 0..10 {
        let first = chunk * (MESSAGES / 10);
        publish(&*producer, QUEUE, first..first + MESSAGES / 10).await;
    }
    let mut all = Vec::new();
    for consumer in consumers {
        all.extend(soon("a consumer", consumer).await.unwrap());
    }
    all.sort_unstable();
    assert_eq!(all, (0..MESSAGES).collect::<Vec<_>>());
}

async fn finished(done: &mut watch::Receiver<usize>, messages: usize) {
    done.wait_for(|total| *total == messages).await.unwrap();
}

pub(crate) async fn a_dropped_next_loses_nothing(site: &dyn Site) {
    const MESSAGES: u32 = 400;
    let (a, b) = (session(site, "a").await, session(site, "b").await);
    let mut subscription = b.subscribe(QUEUE, 16).await.unwrap();
    let publisher = tokio::spawn(async move {
        for number in 0..MESSAGES {
            a.publish(QUEUE, numbered(number)).await.unwrap();
        }
    });
    let mut seen = Vec::new();
    soon("all messages", async {
        while seen.len() < MESSAGES as usize {
            tokio::select! {
                deliveries = subscription.next(3) => {
                    let deliveries = deliveries.unwrap();
                    assert!(deliveries.len() <= 3);
                    seen.extend(numbers(&deliveries));
                    b.ack(deliveries.into_iter().map(|d| d.tag).collect()).await.unwrap();
                }
                () = tokio::task::yield_now() => {}
            }
        }
    })
    .await;
    assert_eq!(seen, (0..MESSAGES).collect::<Vec<_>>());
    publisher.await.unwrap();
}

pub(crate) async fn a_dropped_subscription_loses_nothing(site: &dyn Site) {
    let (a, b) = (session(site, "a").await, session(site, "b").await);
    publish(&*a, QUEUE, 0..10).await;
    let mut subscription = a.subscribe(QUEUE, 10).await.unwrap();
    let held = next_n(&mut *subscription, 2).await;
    assert_eq!(numbers(&held), [0, 1]);
    drop(subscription);
    // What was handed out is still this session's, the rest is for everyone.
    let mut subscription = b.subscribe(QUEUE, 10).await.unwrap();
    let rest = next_n(&mut *subscription, 8).await;
    assert_eq!(BTreeSet::from_iter(numbers(&rest)), BTreeSet::from_iter(2..10));
    a.ack(held.into_iter().map(|delivery| delivery.tag).collect()).await.unwrap();
    a.close().await;
    depth_becomes(&*b, QUEUE, 0).await;
    b.ack(rest.into_iter().map(|delivery| delivery.tag).collect()).await.unwrap();
}

pub(crate) async fn every_listener_hears_every_event(site: &dyn Site) {
    const EVENTS: u32 = 20;
    let (a, b) = (session(site, "a").await, session(site, "b").await);
    let mut listeners: Vec<Box<dyn Listener>> = Vec::new();
    for broker in [&a, &a, &b] {
        listeners.push(broker.listen().await.unwrap());
    }
    let hears: Vec<_> = listeners
        .into_iter()
        .map(|mut listener| {
            tokio::spawn(async move {
                let mut heard = Vec::new();
                for _ in 0..2 * EVENTS {
                    heard.push(number(&listener.next().await.unwrap()));
                }
                heard
            })
        })
        .collect();
    for event in 0..EVENTS {
        a.broadcast(numbered(event)).await.unwrap();
        b.broadcast(numbered(1000 + event)).await.unwrap();
    }
    for heard in hears {
        let heard = soon("the events", heard).await.unwrap();
        let (from_a, from_b): (Vec<u32>, Vec<u32>) = heard.into_iter().partition(|n| *n < 1000);
        assert_eq!(from_a, (0..EVENTS).collect::<Vec<_>>());
        assert_eq!(from_b, (1000..1000 + EVENTS).collect::<Vec<_>>());
    }
}

pub(crate) async fn a_listener_hears_nothing_from_before(site: &dyn Site) {
    let (a, b) = (session(site, "a").await, session(site, "b").await);
    a.broadcast(numbered(1)).await.unwrap();
    let mut early = a.listen().await.unwrap();
    // Whatever the broker's pace: once this is heard, the first is past.
    a.broadcast(numbered(2)).await.unwrap();
    loop {
        if number(&soon("an event", early.next()).await.unwrap()) == 2 {
            break;
        }
    }
    let mut late = b.listen().await.unwrap();
    b.broadcast(numbered(3)).await.unwrap();
    assert_eq!(number(&soon("an event", late.next()).await.unwrap()), 3);
    assert_eq!(number(&soon("an event", early.next()).await.unwrap()), 3);
}

pub(crate) async fn a_large_message_passes(site: &dyn Site) {
    let broker = session(site, "a").await;
    let mut message = numbered(1);
    message.body =
        (0..1024 * 1024_u32).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let copies = vec![(QUEUE.to_owned(), message.clone()); 12];
    soon("confirms", broker.publish_all(copies)).await.unwrap();
    let mut subscription = broker.subscribe(QUEUE, 50).await.unwrap();
    for delivery in next_n(&mut *subscription, 12).await {
        assert!(delivery.message == message);
        broker.ack(vec![delivery.tag]).await.unwrap();
    }
}

pub(crate) async fn ten_thousand_messages_pass(site: &dyn Site) {
    const MESSAGES: u32 = 10_000;
    let broker = session(site, "a").await;
    publish(&*broker, QUEUE, 0..MESSAGES).await;
    depth_becomes(&*broker, QUEUE, u64::from(MESSAGES)).await;
    let mut subscription = broker.subscribe(QUEUE, 500).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < MESSAGES as usize {
        let deliveries = soon("deliveries", subscription.next(200)).await.unwrap();
        seen.extend(numbers(&deliveries));
        broker.ack(deliveries.into_iter().map(|delivery| delivery.tag).collect()).await.unwrap();
    }
    assert_eq!(seen, (0..MESSAGES).collect::<Vec<_>>());
    depth_becomes(&*broker, QUEUE, 0).await;
    assert!(broker.take(QUEUE).await.unwrap().is_none());
}

pub(crate) async fn a_publish_wakes_another_process(site: &dyn Site) {
    let broker = session(site, "a").await;
    let mut other = Other::start(site, &format!("echo {QUEUE} {RESULTS_SEED}"));
    assert_eq!(other.hears(), "listens");
    let mut echoes = broker.subscribe(RESULTS_SEED, 10).await.unwrap();
    for number in 0..20 {
        publish(&*broker, QUEUE, [number]).await;
        let echo = next_n(&mut *echoes, 1).await;
        assert_eq!(numbers(&echo), [number]);
        broker.ack(echo.into_iter().map(|delivery| delivery.tag).collect()).await.unwrap();
    }
    other.end();
}

pub(crate) async fn every_queue_of_the_topology_works(site: &dyn Site) {
    let broker = session(site, "a").await;
    let queues: Vec<String> = durable_queues().into_iter().map(|(queue, _)| queue).collect();
    let messages = queues.iter().zip(0..).map(|(queue, n)| (queue.clone(), numbered(n))).collect();
    broker.publish_all(messages).await.unwrap();
    for (queue, expected) in queues.iter().zip(0..) {
        let delivery = broker.take(queue).await.unwrap().unwrap_or_else(|| panic!("{queue}"));
        assert_eq!(number(&delivery.message), expected, "{queue}");
        broker.ack(vec![delivery.tag]).await.unwrap();
        depth_becomes(&*broker, queue, 0).await;
    }
}

pub(crate) async fn a_broker_belongs_to_one_ledger(site: &dyn Site) {
    let settings = BrokerSettings::at(site.url());
    let home = Path::new("/nonexistent");
    let claim = |uuid, adopt| claim_ledger(&settings, home, uuid, adopt, Patience::COMMAND);
    let owner = |uuid| owns_ledger(&settings, home, uuid, Patience::COMMAND);
    let (first, second) = ("0193-first", "0193-second");
    let other = |uuid: &str| Owner::Other(Some(uuid.to_owned()));
    assert_eq!(owner(first).await.unwrap(), Owner::Nobody);
    assert_eq!(claim(first, false).await.unwrap(), Owner::Nobody);
    assert_eq!(claim(first, false).await.unwrap(), Owner::This);
    assert_eq!(owner(first).await.unwrap(), Owner::This);
    // A second one is refused, is told whose it is and what to do, and changes nothing by trying.
    assert_eq!(owner(second).await.unwrap(), other(first));
    let error = claim(second, false).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(&error, BrokerError::Owned { owner: Some(owner), .. } if owner == first));
    assert!(text.contains("producer topology apply --adopt") && text.contains(second), "{text}");
    assert_eq!(owner(first).await.unwrap(), Owner::This);
    // Unless it says that the first is lost; then the first is refused.
    assert_eq!(claim(second, true).await.unwrap(), other(first));
    assert_eq!(owner(second).await.unwrap(), Owner::This);
    assert_eq!(owner(first).await.unwrap(), other(second));
    let error = claim(first, false).await.unwrap_err();
    assert!(matches!(error, BrokerError::Owned { .. }), "{error}");
    assert_eq!(claim(second, true).await.unwrap(), Owner::This);
    assert_eq!(owner(second).await.unwrap(), Owner::This);
}

pub(crate) async fn two_ledgers_that_claim_at_once_do_not_both_win(site: &dyn Site) {
    let settings = BrokerSettings::at(site.url());
    let home = Path::new("/nonexistent");
    let ledgers = ["a", "b", "c"];
    let claim = |uuid| claim_ledger(&settings, home, uuid, false, Patience::COMMAND);
    let claims = async { tokio::join!(claim("a"), claim("b"), claim("c")) };
    let (a, b, c) = soon("the claims", claims).await;
    let claims = [a, b, c];
    let won: Vec<_> = ledgers.iter().zip(&claims).filter(|(_, claim)| claim.is_ok()).collect();
    assert_eq!(won.len(), 1, "{claims:?}");
    for uuid in ledgers {
        let owner = owns_ledger(&settings, home, uuid, Patience::COMMAND).await.unwrap();
        assert_eq!(owner == Owner::This, uuid == *won[0].0, "{uuid}: {owner:?}, {claims:?}");
    }
}
