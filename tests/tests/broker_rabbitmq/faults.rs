//! What the broker does to a session, and how the session goes on: killed brokers, alarms,
//! overdue deliveries, a cluster that loses a node.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_confirmed_is_lost_when_the_broker_is_killed() {
    let Some(node) = unless_absent(RabbitNode::start(&Options::default())) else { return };
    let url = node.url("/");
    apply(&url).await;
    let broker = service(&url).await;
    let mut subscription = broker.subscribe("results.seed", 100).await.unwrap();
    let publisher = {
        let broker = Arc::clone(&broker);
        tokio::spawn(async move {
            for n in 0..400 {
                broker.publish("results.seed", message(n)).await.unwrap();
            }
        })
    };
    let mut seen = BTreeSet::new();
    let mut killed = 0;
    let all = async {
        while seen.len() < 400 {
            let batch = subscription.next(10).await.unwrap();
            seen.extend(batch.iter().map(number));
            broker.ack(batch.into_iter().map(|delivery| delivery.tag).collect()).await.unwrap();
            if seen.len() > 100 * (killed + 1) && killed < 2 {
                if killed == 0 { node.kill() } else { node.stop() }.unwrap();
                node.run().unwrap();
                killed += 1;
            }
        }
    };
    timeout(Duration::from_secs(240), all).await.expect("every message");
    publisher.await.unwrap();
    assert_eq!(killed, 2);
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_gives_up_and_a_service_waits_for_a_broker_that_starts_late() {
    let Some(node) = unless_absent(RabbitNode::start(&Options::default())) else { return };
    let url = node.url("/");
    apply(&url).await;
    let brief = Patience::For(Duration::from_millis(500));
    let command = RabbitBroker::connect(&at(&url), identity("c"), brief).await.unwrap();
    node.kill().unwrap();
    let error = soon("the end of patience", command.publish(QUEUE, message(1))).await.unwrap_err();
    assert!(matches!(error, BrokerError::Unreachable { .. }), "{error:?}");
    let error = RabbitBroker::connect(&at(&url), identity("c"), brief).await.unwrap_err();
    assert!(matches!(error, BrokerError::Unreachable { .. }), "{error:?}");
    let waiting = {
        let url = url.clone();
        tokio::spawn(async move { service(&url).await })
    };
    node.run().unwrap();
    let broker = soon("the service", waiting).await.unwrap();
    broker.publish(QUEUE, message(2)).await.unwrap();
    assert_eq!(number(&take(&*broker, QUEUE).await), 2);
    // Closing while the broker is gone is prompt as well.
    node.kill().unwrap();
    soon("the close", broker.close()).await;
    soon("the close", command.close()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_alarm_holds_publishes_up_and_nothing_else() {
    let Some(node) = unless_absent(RabbitNode::start(&Options::default())) else { return };
    let url = node.url("/");
    apply(&url).await;
    let broker = service(&url).await;
    broker.publish(QUEUE, message(1)).await.unwrap();
    node.ctl(&["set_vm_memory_high_watermark", "absolute", "1MB"]).unwrap();
    let publisher = {
        let broker = Arc::clone(&broker);
        tokio::spawn(async move { broker.publish(QUEUE, message(2)).await })
    };
    let delivery = take(&*broker, QUEUE).await;
    assert_eq!(number(&delivery), 1);
    broker.ack(vec![delivery.tag]).await.unwrap();
    soon("an event that is dropped", broker.broadcast(message(3))).await.unwrap();
    let brief = Patience::For(Duration::from_secs(1));
    let command = RabbitBroker::connect(&at(&url), identity("c"), brief).await.unwrap();
    let error = soon("the end of patience", command.publish(QUEUE, message(9))).await.unwrap_err();
    assert!(error.to_string().contains("alarm"), "{error}");
    assert!(!publisher.is_finished());
    node.ctl(&["set_vm_memory_high_watermark", "0.4"]).unwrap();
    soon("the publish", publisher).await.unwrap().unwrap();
    broker.close().await;
    command.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overdue_delivery_comes_back_without_its_neighbours() {
    let Some(node) = unless_absent(RabbitNode::start(&Options::default())) else { return };
    // RabbitMQ looks once a minute for deliveries that are overdue, unless told otherwise.
    let set = "application:set_env(rabbit, consumer_timeout, 6000), \
               application:set_env(rabbit, channel_tick_interval, 500).";
    node.ctl(&["eval", set]).unwrap();
    let url = node.url("/");
    apply(&url).await;
    let broker = service(&url).await;
    let other = service(&url).await;
    broker.publish(QUEUE, message(1)).await.unwrap();
    let overdue = broker.take(QUEUE).await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    broker.publish(QUEUE, message(2)).await.unwrap();
    let neighbour = broker.take(QUEUE).await.unwrap().unwrap();
    let back = take(&*other, QUEUE).await;
    assert_eq!((number(&back), back.redelivered), (1, true));
    other.ack(vec![back.tag]).await.unwrap();
    broker.ack(vec![overdue.tag, neighbour.tag]).await.unwrap();
    broker.close().await;
    assert_eq!(other.take(QUEUE).await.unwrap().map(|delivery| number(&delivery)), None);
    assert_eq!(other.depth(QUEUE).await.unwrap(), Some(0));
    other.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_three_goes_on_without_its_leader_and_without_another() {
    let options = Options { schedulers: 1, ..Options::default() };
    let Some(cluster) = unless_absent(Cluster::start(3, &options)) else { return };
    let [leader, ours, third] = &cluster.nodes[..] else { panic!("three nodes") };
    // Queues are led where they were declared; the session goes to another node.
    apply(&leader.url("/")).await;
    let broker = service(&ours.url("/")).await;
    for n in 0..30 {
        broker.publish(QUEUE, message(n)).await.unwrap();
        match n {
            10 => leader.kill().unwrap(),
            15 => leader.run().unwrap(),
            20 => third.kill().unwrap(),
            _ => {}
        }
    }
    let mut seen = BTreeSet::new();
    while seen.len() < 30 {
        let delivery = take(&*broker, QUEUE).await;
        seen.insert(number(&delivery));
        broker.ack(vec![delivery.tag]).await.unwrap();
    }
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_is_polled_in_passing_has_one_consumer_after_every_loss() {
    let Some((node, vhost, url)) = place().await else { return };
    let broker = service(&url).await;
    let mut subscription = broker.subscribe(QUEUE, 100).await.unwrap();
    let count = 20;
    for turn in 0..2 {
        node.close_all_connections(&vhost).unwrap();
        broker
            .publish_all((0..count).map(|n| (QUEUE.to_owned(), message(n))).collect())
            .await
            .unwrap();
        let mut seen = BTreeSet::new();
        let all = async {
            while seen.len() < count {
                // As in a loop with other things to do: mostly it is given up at once.
                let next = timeout(Duration::from_micros(200), subscription.next(1));
                let Ok(deliveries) = next.await else { continue };
                for delivery in deliveries.unwrap() {
                    seen.insert(number(&delivery));
                    broker.ack(vec![delivery.tag]).await.unwrap();
                }
            }
        };
        soon(&format!("every message of turn {turn}"), all).await;
    }
    broker.close().await;
}
