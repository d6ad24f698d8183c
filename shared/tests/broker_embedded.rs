//! The embedded broker: the conformance suite, and what only it must do.
#![expect(clippy::unwrap_used, reason = "what fails here is a failed test")]

#[path = "conformance/mod.rs"]
#[macro_use]
mod conformance;

use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use conformance::{
    Site, depth_becomes, next_n, number, numbered, numbers, processes::Other, publish, session,
    soon,
};
use rusqlite::Connection;
use shared::broker::{BrokerError, EmbeddedBroker};

const QUEUE: &str = "jobs.seed.cpu";

/// A folder of one test's own.
struct Folder(tempfile::TempDir);

impl Folder {
    fn broker(&self) -> PathBuf {
        self.0.path().join("broker")
    }

    fn database(&self) -> PathBuf {
        self.broker().join("queues.sqlite")
    }

    /// The names of the files of sessions.
    fn sessions(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.broker().join("sessions")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Site for Folder {
    fn url(&self) -> String {
        format!("embedded:{}", self.broker().display())
    }
}

fn fresh() -> Folder {
    Folder(tempfile::tempdir().unwrap())
}

conformance!(Some(fresh()));

async fn refusal(folder: &Path) -> String {
    match soon("an answer", EmbeddedBroker::open(folder)).await {
        Err(error @ BrokerError::Folder { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_take_finds_what_a_killed_process_held_at_once() {
    let site = fresh();
    let broker = session(&site, "a").await;
    publish(&*broker, QUEUE, 0..3).await;
    let mut other = Other::start(&site, &format!("hold {QUEUE} 3"));
    assert_eq!(other.hears(), "holds");
    assert!(broker.take(QUEUE).await.unwrap().is_none());
    assert_eq!(site.sessions().len(), 4);
    other.kill();
    for expected in 0..3 {
        let back = broker.take(QUEUE).await.unwrap().unwrap();
        assert_eq!((number(&back.message), back.redelivered), (expected, true));
    }
    assert_eq!(site.sessions().len(), 2, "the killed session's files are removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_killed_processes_confirmed_holds() {
    let site = fresh();
    let broker = session(&site, "a").await;
    let mut confirmed = BTreeSet::new();
    for (round, few) in [1, 13, 40, 77].into_iter().enumerate() {
        let mut publisher = Other::start(&site, &format!("publish {QUEUE} {round}000 1000"));
        let mut said: Vec<String> = (0..few).map(|_| publisher.hears()).collect();
        said.extend(publisher.kill());
        let numbers = said.iter().filter_map(|line| line.strip_prefix("published "));
        confirmed.extend(numbers.map(|number| number.parse::<u32>().unwrap()));
    }
    let mut acknowledged = BTreeSet::new();
    for few in [1, 7, 30] {
        let mut consumer = Other::start(&site, &format!("drain {QUEUE}"));
        assert_eq!(consumer.hears(), "listens");
        let mut said: Vec<String> = (0..few).map(|_| consumer.hears()).collect();
        said.extend(consumer.kill());
        for number in said {
            assert!(acknowledged.insert(number.parse::<u32>().unwrap()), "{number} twice");
        }
    }
    let mut rest = BTreeSet::new();
    while let Some(delivery) = broker.take(QUEUE).await.unwrap() {
        let number = number(&delivery.message);
        assert!(rest.insert(number), "{number} twice");
        assert!(!acknowledged.contains(&number), "{number} came back");
        broker.ack(vec![delivery.tag]).await.unwrap();
    }
    // They speak after the deed, so each may have done one more than it said.
    let seen = &rest | &acknowledged;
    assert!((&seen - &confirmed).len() <= 4);
    assert!((&confirmed - &seen).len() <= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_publish_and_take_at_once() {
    let site = fresh();
    let broker = session(&site, "a").await;
    let publishers: Vec<_> = (0..2)
        .map(|who| Other::start(&site, &format!("publish {QUEUE} {} 300", who * 300)))
        .collect();
    let mut echo = Other::start(&site, &format!("echo {QUEUE} results.seed"));
    assert_eq!(echo.hears(), "listens");
    let mut subscription = broker.subscribe("results.seed", 50).await.unwrap();
    let mut seen = Vec::new();
    for own in 600..900 {
        publish(&*broker, QUEUE, [own]).await;
    }
    for delivery in next_n(&mut *subscription, 1).await {
        seen.push(number(&delivery.message));
        broker.ack(vec![delivery.tag]).await.unwrap();
    }
    while seen.len() < 900 {
        for delivery in soon("echoes", subscription.next(50)).await.unwrap() {
            seen.push(number(&delivery.message));
            broker.ack(vec![delivery.tag]).await.unwrap();
        }
    }
    // Each publisher's messages keep their order.
    for who in 0..3 {
        let of = seen.iter().copied().filter(|n| n / 300 == who).collect::<Vec<_>>();
        assert_eq!(of, (who * 300..who * 300 + 300).collect::<Vec<_>>());
    }
    publishers.into_iter().for_each(Other::end);
    echo.end();
    assert_eq!(site.sessions().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_database_is_waited_for() {
    let site = fresh();
    let broker = session(&site, "a").await;
    let other = Connection::open(site.database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let publishes = {
        let broker = broker.clone();
        tokio::spawn(async move { broker.publish(QUEUE, numbered(1)).await })
    };
    // Looking needs no lock.
    let looks = session(&site, "b").await;
    for _ in 0..100 {
        assert_eq!(looks.depth(QUEUE).await.unwrap(), Some(0));
        assert!(looks.take(QUEUE).await.unwrap().is_none());
    }
    assert!(!publishes.is_finished());
    other.execute_batch("COMMIT").unwrap();
    soon("the publish", publishes).await.unwrap().unwrap();
    depth_becomes(&*broker, QUEUE, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_or_dropped_session_leaves_no_files() {
    let site = fresh();
    let (a, b) = (session(&site, "a").await, session(&site, "b").await);
    publish(&*a, QUEUE, 0..2).await;
    assert!(a.take(QUEUE).await.unwrap().is_some());
    let mut subscription = a.subscribe(QUEUE, 10).await.unwrap();
    let waits = tokio::spawn(async move {
        loop {
            if let Err(error) = subscription.next(10).await {
                return error;
            }
        }
    });
    assert_eq!(site.sessions().len(), 4);
    a.close().await;
    assert_eq!(site.sessions().len(), 2);
    for error in [
        soon("an error", waits).await.unwrap(),
        a.publish(QUEUE, numbered(1)).await.unwrap_err(),
        a.take(QUEUE).await.unwrap_err(),
    ] {
        assert!(error.to_string().contains("this session was closed"), "{error}");
    }
    a.close().await;
    depth_becomes(&*b, QUEUE, 2).await;
    drop(a);
    // The thread of a dropped session ends by itself.
    assert!(b.take(QUEUE).await.unwrap().is_some());
    drop(b);
    let c = session(&site, "c").await;
    depth_becomes(&*c, QUEUE, 2).await;
    soon("the files", async {
        while site.sessions().len() > 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_files_are_removed_and_what_they_held_comes_back() {
    let site = fresh();
    let broker = session(&site, "a").await;
    publish(&*broker, QUEUE, 0..2).await;
    assert!(broker.take(QUEUE).await.unwrap().is_some());
    let sessions = site.broker().join("sessions");
    fs::write(sessions.join("0190-stale.lock"), "").unwrap();
    fs::write(sessions.join("0190-stale.bell"), "").unwrap();
    let db = Connection::open(site.database()).unwrap();
    db.execute("UPDATE taken SET session = '0190-stale'", []).unwrap();
    drop(db);
    let other = session(&site, "b").await;
    // Opening looks for them before it answers anything.
    assert_eq!(other.depth(QUEUE).await.unwrap(), Some(2));
    assert_eq!(site.sessions().len(), 4);
    let back = other.take(QUEUE).await.unwrap().unwrap();
    assert_eq!((number(&back.message), back.redelivered), (0, true));
    // A holder without any file is gone as well.
    let db = Connection::open(site.database()).unwrap();
    db.execute("UPDATE taken SET session = 'never-was'", []).unwrap();
    drop(db);
    other.ack(vec![back.tag]).await.unwrap();
    let mut subscription = broker.subscribe(QUEUE, 10).await.unwrap();
    let both = next_n(&mut *subscription, 2).await;
    assert_eq!(BTreeSet::from_iter(numbers(&both)), BTreeSet::from([0, 1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_private() {
    let site = fresh();
    let broker = session(&site, "a").await;
    publish(&*broker, QUEUE, [1]).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&site.broker()), 0o700);
    assert_eq!(mode(&site.broker().join("sessions")), 0o700);
    for folder in [site.broker(), site.broker().join("sessions")] {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            assert!(path.is_dir() || mode(&path) == 0o600, "{}", path.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_can_not_be_made_is_explained() {
    // Not even root makes folders there.
    let text = refusal(Path::new("/sys/rigqueue")).await;
    assert!(text.contains("can't create /sys/rigqueue"), "{text}");
    assert!(text.contains("make it writable for this user, or choose another"), "{text}");
    let site = fresh();
    fs::write(site.broker(), "").unwrap();
    let text = refusal(&site.broker()).await;
    assert!(text.contains("a file stands where a folder is needed"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_can_not_be_written_is_explained() {
    let site = fresh();
    session(&site, "a").await.close().await;
    let read_only = fs::Permissions::from_mode(0o500);
    fs::set_permissions(site.broker().join("sessions"), read_only).unwrap();
    let probe = site.broker().join("sessions/probe");
    if fs::write(&probe, "").map_err(|error| error.kind()) != Err(ErrorKind::PermissionDenied) {
        println!("skipped: this user may write everywhere");
        return;
    }
    let text = refusal(&site.broker()).await;
    assert!(text.contains("make it writable for this user"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_file_system_is_refused() {
    // Mounting one takes privileges; a FUSE or 9P mount that is there already will do.
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let remote = mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (folder, kind) = (words.nth(1)?, words.next()?);
        let remote = ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph"].contains(&kind)
            || kind.starts_with("fuse");
        (remote && Path::new(folder).is_dir()).then_some(folder)
    });
    let Some(folder) = remote else {
        println!("skipped: no network file system is mounted here");
        return;
    };
    let text = refusal(Path::new(folder)).await;
    assert!(text.contains("network or user file system"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_damaged_or_not_ours_is_refused() {
    let site = fresh();
    session(&site, "a").await.close().await;
    let ours = fs::read(site.database()).unwrap();

    fs::write(site.database(), b"#!/bin/sh\n".repeat(1000)).unwrap();
    let text = refusal(&site.broker()).await;
    assert!(text.contains("damaged or no database at all"), "{text}");

    fs::remove_file(site.database()).unwrap();
    let stranger = Connection::open(site.database()).unwrap();
    stranger.execute_batch("CREATE TABLE recipes (name TEXT)").unwrap();
    drop(stranger);
    let text = refusal(&site.broker()).await;
    assert!(text.contains("a database of another program"), "{text}");

    fs::write(site.database(), &ours).unwrap();
    let newer = Connection::open(site.database()).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    let text = refusal(&site.broker()).await;
    assert!(text.contains("version 99"), "{text}");

    // Any page of ours overwritten: an error or a working broker, never a panic.
    for page in 0..ours.len() / 4096 {
        let mut damaged = ours.clone();
        damaged[page * 4096..][..4096].fill(0xa5);
        fs::write(site.database(), &damaged).unwrap();
        match EmbeddedBroker::open(&site.broker()).await {
            Err(BrokerError::Folder { .. }) => {}
            Err(other) => panic!("page {page}: {other}"),
            Ok(broker) => {
                let broker: &dyn shared::broker::Broker = &broker;
                for result in [
                    broker.publish(QUEUE, numbered(1)).await.err(),
                    broker.take(QUEUE).await.err(),
                    broker.broadcast(numbered(1)).await.err(),
                ] {
                    assert!(
                        matches!(result, None | Some(BrokerError::Folder { .. })),
                        "{result:?}"
                    );
                }
                broker.close().await;
            }
        }
    }
    // None of the refused left anything behind.
    assert!(site.sessions().is_empty(), "{:?}", site.sessions());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_removed_swallows_nothing() {
    let site = fresh();
    let broker = session(&site, "a").await;
    let mut subscription = broker.subscribe(QUEUE, 10).await.unwrap();
    fs::remove_file(site.database()).unwrap();
    for error in [
        broker.publish(QUEUE, numbered(2)).await.unwrap_err(),
        soon("an error", subscription.next(1)).await.unwrap_err(),
    ] {
        assert!(error.to_string().contains("was removed or replaced"), "{error}");
    }
}
