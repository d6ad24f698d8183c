//! What every broker must do, whichever it is. A test file names its site and calls
//! [`conformance!`](crate::conformance), which makes a test of every case; it needs
//! `#![expect(clippy::unwrap_used, reason = "what fails here is a failed test")]`.

pub(crate) mod cases;
pub(crate) mod processes;

use std::{collections::BTreeMap, future::Future, path::Path, sync::Arc, time::Duration};

use shared::{
    broker::{self, Broker, Delivery, Identity, Patience, Subscription},
    settings::BrokerSettings,
    wire::Message,
};

/// A broker of one test's own, with every durable queue declared and empty.
pub(crate) trait Site: Send + Sync {
    /// Its URL, good for other processes as well.
    fn url(&self) -> String;
}

/// Opens a session as a command would.
pub(crate) async fn connect(url: &str, instance: &str) -> Arc<dyn Broker> {
    let identity =
        Identity { node: "node".to_owned(), instance: instance.to_owned(), role: "worker" };
    broker::connect(
        &BrokerSettings::at(url),
        Path::new("/nonexistent"),
        identity,
        Patience::COMMAND,
    )
    .await
    .unwrap_or_else(|error| panic!("{instance}: {error}"))
}

/// Opens a session at a site.
pub(crate) async fn session(site: &dyn Site, instance: &str) -> Arc<dyn Broker> {
    connect(&site.url(), instance).await
}

/// A limit that only a hang reaches.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), future)
        .await
        .unwrap_or_else(|_| panic!("waited 120 s for {what}"))
}

/// A message that carries a number, in its body and in a header.
pub(crate) fn numbered(number: u32) -> Message {
    let headers = BTreeMap::from([("number".to_owned(), number.to_string())]);
    Message { kind: "Numbered".to_owned(), headers, body: number.to_be_bytes().to_vec() }
}

/// The number that a message carries.
pub(crate) fn number(message: &Message) -> u32 {
    let number = u32::from_be_bytes(message.body.as_slice().try_into().unwrap());
    assert_eq!(*message, numbered(number), "headers and body belong together");
    number
}

/// Publishes messages with these numbers, all confirmed.
pub(crate) async fn publish(
    broker: &dyn Broker,
    queue: &str,
    numbers: impl IntoIterator<Item = u32>,
) {
    let messages = numbers.into_iter().map(|n| (queue.to_owned(), numbered(n))).collect();
    soon("confirms", broker.publish_all(messages)).await.unwrap();
}

/// The next `count` deliveries of a subscription.
pub(crate) async fn next_n(subscription: &mut dyn Subscription, count: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    while deliveries.len() < count {
        let more = soon("deliveries", subscription.next(count - deliveries.len())).await.unwrap();
        assert!(!more.is_empty() && deliveries.len() + more.len() <= count);
        deliveries.extend(more);
    }
    deliveries
}

/// Waits until this many messages wait in a queue.
pub(crate) async fn depth_becomes(broker: &dyn Broker, queue: &str, depth: u64) {
    let what = format!("a depth of {depth} in {queue}");
    soon(&what, async {
        while broker.depth(queue).await.unwrap() != Some(depth) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The numbers of deliveries, in order.
pub(crate) fn numbers(deliveries: &[Delivery]) -> Vec<u32> {
    deliveries.iter().map(|delivery| number(&delivery.message)).collect()
}

/// Makes a test of every case. `$fresh` is an expression, evaluated for each test, that gives
/// `Option<impl Site>`: `None` when there is no such broker here (it has said why).
#[macro_export]
macro_rules! conformance {
    ($fresh:expr) => {
        $crate::conformance! { @each $fresh,
            a_message_comes_back_as_it_was
            messages_leave_in_the_order_they_came
            an_empty_queue_has_nothing_to_take
            depth_counts_what_waits
            what_a_closed_session_held_comes_back
            what_a_killed_process_held_comes_back
            a_stale_tag_acknowledges_nothing
            an_acknowledged_message_is_gone_for_good
            no_two_takers_get_the_same_message
            a_dropped_take_loses_nothing
            a_subscription_hands_over_old_and_new_messages
            a_subscription_keeps_to_its_prefetch
            subscriptions_share_a_queue
            a_dropped_next_loses_nothing
            a_dropped_subscription_loses_nothing
            every_listener_hears_every_event
            a_listener_hears_nothing_from_before
            a_large_message_passes
            ten_thousand_messages_pass
            a_publish_wakes_another_process
            every_queue_of_the_topology_works
            a_broker_belongs_to_one_ledger
            two_ledgers_that_claim_at_once_do_not_both_win
        }
        /// What the other processes of these tests run.
        #[test]
        fn other_process() {
            $crate::conformance::processes::play();
        }
    };
    (@each $fresh:expr, $($case:ident)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            if let Some(site) = $fresh {
                $crate::conformance::cases::$case(&site).await;
            }
        }
    )+};
}
