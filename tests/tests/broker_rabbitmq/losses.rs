//! What an operator can take away while a session stands: queues, exchanges, channels, room.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_queue_is_told_to_takers_and_publishers_until_it_is_declared_again() {
    let Some((node, vhost, url)) = place().await else { return };
    let broker = service(&url).await;
    broker.publish_all((0..3).map(|n| (QUEUE.to_owned(), message(n))).collect()).await.unwrap();
    let held = broker.take(QUEUE).await.unwrap().unwrap();
    let neighbour = {
        broker.publish("jobs.seed.cuda", message(7)).await.unwrap();
        broker.take("jobs.seed.cuda").await.unwrap().unwrap()
    };
    node.delete(&format!("queues/{vhost}/{QUEUE}")).unwrap();
    for _ in 0..3 {
        for error in [
            broker.take(QUEUE).await.map(drop).unwrap_err(),
            broker.publish(QUEUE, message(9)).await.unwrap_err(),
            broker.subscribe(QUEUE, 1).await.map(drop).unwrap_err(),
        ] {
            assert!(
                matches!(&error, BrokerError::NoQueue { queue, .. } if queue == QUEUE),
                "{error:?}"
            );
        }
        assert_eq!(broker.depth(QUEUE).await.unwrap(), None);
    }
    // What was taken before is gone with its queue; its acknowledgement harms nobody.
    broker.ack(vec![held.tag]).await.unwrap();
    broker.ack(vec![neighbour.tag]).await.unwrap();
    apply(&url).await;
    assert_eq!(broker.depth(QUEUE).await.unwrap(), Some(0));
    broker.publish(QUEUE, message(4)).await.unwrap();
    assert_eq!(number(&take(&*broker, QUEUE).await), 4);
    assert!(broker.take("jobs.seed.cuda").await.unwrap().is_none(), "it was acknowledged");
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_hears_again_after_the_exchange_was_deleted_and_declared_anew() {
    let Some((node, vhost, url)) = place().await else { return };
    let broker = service(&url).await;
    let mut listener = broker.listen().await.unwrap();
    broker.broadcast(message(1)).await.unwrap();
    assert_eq!(soon("the event", listener.next()).await.unwrap(), message(1));
    // An exchange that is declared again knows nothing of the queues that were bound to it.
    node.delete(&format!("exchanges/{vhost}/rigqueue.events")).unwrap();
    apply(&url).await;
    let speak = async {
        loop {
            broker.broadcast(message(2)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        event = soon("the event", listener.next()) => assert_eq!(event.unwrap(), message(2)),
        () = speak => {}
    }
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_nobody_polls_holds_a_bounded_number_of_events() {
    let Some((node, vhost, url)) = place().await else { return };
    let broker = service(&url).await;
    let mut idle = broker.listen().await.unwrap();
    let mut awake = broker.listen().await.unwrap();
    let count = 15_000;
    let speak = async {
        for n in 0..count {
            broker.broadcast(message(n)).await.unwrap();
        }
    };
    let hear = async {
        for n in 0..count {
            assert_eq!(awake.next().await.unwrap(), message(n), "one that is polled hears all");
            if n % 5_000 == 0 {
                tokio::task::yield_now().await;
            }
        }
    };
    soon("the events", async { tokio::join!(speak, hear) }).await;
    // The broker sent few of them ahead and keeps the newest of the rest.
    let listed = node.ctl(&["list_queues", "-p", &vhost, "name", "messages_unacknowledged"]);
    let listed = listed.unwrap();
    let ahead: Vec<u64> = listed
        .lines()
        .filter(|line| line.starts_with("events."))
        .filter_map(|line| line.split_whitespace().last()?.parse().ok())
        .collect();
    assert!(ahead.len() == 2 && ahead.iter().all(|ahead| *ahead <= 512), "{listed}");
    let mut heard = Vec::new();
    while heard.last() != Some(&(count - 1)) {
        let event = soon("an event", idle.next()).await.unwrap();
        heard.push(usize::from_be_bytes(event.body.as_slice().try_into().unwrap()));
    }
    assert!(heard.is_sorted() && heard.len() <= 10_512, "{} events", heard.len());
    assert!(heard.len() > 512, "the newest are there");
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_holds_a_service_up_and_fails_a_command() {
    const COUNT: usize = 100;
    let Some((node, vhost, url)) = place().await else { return };
    let policy = r#"{"max-length": 5}"#;
    node.ctl(&["set_policy", "-p", &vhost, "short", "^jobs\\.seed\\.cpu$", policy]).unwrap();
    let broker = service(&url).await;
    let publisher = {
        let broker = Arc::clone(&broker);
        // A quorum queue notices a while later that it is full: one after the other, then.
        tokio::spawn(async move {
            for n in 0..COUNT {
                broker.publish(QUEUE, message(n)).await?;
            }
            Ok::<(), BrokerError>(())
        })
    };
    let full = async {
        while broker.depth(QUEUE).await.unwrap() < Some(5) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon("a full queue", full).await;
    let brief = Patience::For(Duration::from_secs(1));
    let command = RabbitBroker::connect(&at(&url), identity("c"), brief).await.unwrap();
    let refused = soon("the end of patience", command.publish(QUEUE, message(99)));
    let error = refused.await.unwrap_err().to_string();
    assert!(error.contains("the queue is full"), "{error}");
    assert!(!publisher.is_finished());
    let mut seen = BTreeSet::new();
    let all = async {
        while seen.len() < COUNT {
            let delivery = take(&*broker, QUEUE).await;
            seen.insert(number(&delivery));
            broker.ack(vec![delivery.tag]).await.unwrap();
        }
    };
    timeout(Duration::from_secs(150), all).await.expect("every message");
    soon("the confirms", publisher).await.unwrap().unwrap();
    assert_eq!(seen, (0..COUNT).collect());
    broker.close().await;
    command.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_whose_channel_the_broker_closed_goes_on() {
    let Some(node) = unless_absent(RabbitNode::start(&Options::default())) else { return };
    let set = "application:set_env(rabbit, consumer_timeout, 3000), \
               application:set_env(rabbit, channel_tick_interval, 500).";
    node.ctl(&["eval", set]).unwrap();
    let url = node.url("/");
    apply(&url).await;
    let broker = service(&url).await;
    let mut subscription = broker.subscribe(QUEUE, 10).await.unwrap();
    broker.publish_all((0..3).map(|n| (QUEUE.to_owned(), message(n))).collect()).await.unwrap();
    let mut overdue = Vec::new();
    while overdue.len() < 3 {
        overdue.extend(soon("a delivery", subscription.next(10)).await.unwrap());
    }
    // 406: the channel is closed, and everything on it comes back, on another one.
    let mut back = Vec::new();
    while back.len() < 3 {
        back.extend(soon("a redelivery", subscription.next(10)).await.unwrap());
    }
    assert!(back.iter().all(|delivery| delivery.redelivered));
    broker.ack(overdue.into_iter().map(|delivery| delivery.tag).collect()).await.unwrap();
    broker.ack(back.into_iter().map(|delivery| delivery.tag).collect()).await.unwrap();
    broker.publish(QUEUE, message(9)).await.unwrap();
    let next = soon("the next", subscription.next(10)).await.unwrap();
    assert_eq!(next.iter().map(number).collect::<Vec<_>>(), [9]);
    broker.ack(vec![next[0].tag.clone()]).await.unwrap();
    drop(subscription);
    broker.close().await;
    let other = service(&url).await;
    assert_eq!(other.depth(QUEUE).await.unwrap(), Some(0));
    other.close().await;
}
