//! Chaos: jobs, and a fault every second or two; at the end everything must be exact.
//!
//! `make chaos`. The environment says how: `CHAOS_SECONDS` (600) of faults; `CHAOS_SEED` repeats
//! the order of another time's; `CHAOS_BROKER` is `rabbitmq` (a private node; of a root folder if
//! `RIGQUEUE_TEST_RABBITMQ_ROOT` names one) or `embedded`; `CHAOS_KEEP=1` keeps logs and ledger.
//! The last two lines are the figures. Ends with 1 when anything is lost or doubled, or
//! nothing moves any more.

#![expect(clippy::print_stdout, reason = "figures are its output")]

mod chance;
mod faults;
mod figures;
mod fleet;
mod work;

use std::{
    env,
    io::{Write as _, stderr},
    process::ExitCode,
    thread::sleep,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use chance::Chance;
use faults::{Deck, KINDS};
use figures::{Books, Recoveries, Totals};
use fleet::Fleet;
use tests::rig::Rig;

/// A run that is silent for so long is looked at.
const SOON: &str = "[aggregator]\nreconcile_after = \"5s\"";
/// How often the ledger is looked at.
const LOOK: Duration = Duration::from_millis(25);
/// How long the last runs may take once the faults have stopped.
const PATIENCE: Duration = Duration::from_secs(300);
/// When nothing more is covered for so long, whatever the faults, it is stuck.
const STUCK: Duration = Duration::from_secs(120);

/// Tells a person who watches.
fn say(text: &str) {
    // Nobody may be there to hear it.
    writeln!(stderr(), "{text}").ok();
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable}: '{text}': {error}")))
}

fn main() -> ExitCode {
    let seconds = number("CHAOS_SECONDS").unwrap_or(600);
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = number("CHAOS_SEED").unwrap_or(since_1970.as_secs());
    let broker = env::var("CHAOS_BROKER").unwrap_or_else(|_| "rabbitmq".to_owned());
    let rig = match broker.as_str() {
        "embedded" => Some(Rig::embedded()),
        "rabbitmq" => Rig::rabbit().map(|mut rig| {
            rig.use_own_user();
            rig
        }),
        _ => None,
    };
    let Some(mut rig) = rig else {
        say(&format!("CHAOS_BROKER is '{broker}'; it must be rabbitmq, installed, or embedded"));
        return ExitCode::from(2);
    };
    if env::var_os("CHAOS_KEEP").is_some() {
        say(&format!("logs and ledger stay in {}", rig.keep_folder().display()));
    }
    println!("chaos: {seconds} s on {broker}, CHAOS_SEED={seed}");
    rig.add_settings(SOON);
    let totals = chaos(&rig, Duration::from_secs(seconds), seed);
    for remark in &totals.remarks {
        println!("{remark}");
    }
    // Nothing waits in any queue, neither while the services run nor once they have given back all
    // that they held.
    rig.until_empty();
    rig.end_services();
    rig.until_empty();
    println!("no message is left, and every process ended in good order");
    if totals.remarks.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Does it all, prints the figures, and returns the totals.
fn chaos(rig: &Rig, time: Duration, seed: u64) -> Totals {
    let mut chance = Chance::new(seed);
    let mut deck = Deck::new(rig.node().is_some());
    let mut recoveries = Recoveries::default();
    let started = Instant::now();
    let mut fleet = Fleet::start(rig);
    let books = rig.until("a ledger", || Books::open(rig));
    let mut next = Instant::now() + Duration::from_secs(3);
    let mut progress = (0, Instant::now());
    while started.elapsed() < time && progress.1.elapsed() < STUCK {
        fleet.look();
        let covered = books.covered();
        recoveries.covered(covered);
        if covered > progress.0 {
            progress = (covered, Instant::now());
        }
        if fleet.work.is_short(&books) {
            fleet.work.publish(rig, &mut chance, None);
        }
        if Instant::now() >= next {
            next = Instant::now() + chance.millis(800, 1800);
            if let Some(fault) = deck.draw(&mut chance, |fault| fleet.is_possible(fault, &books)) {
                let name = KINDS.iter().find(|kind| kind.0 == fault).map_or("", |kind| kind.1);
                say(&format!("{:7.2} {name}", started.elapsed().as_secs_f64()));
                let since = Instant::now();
                if fleet.suffer(fault, &mut chance, &books) {
                    recoveries.fault(fault, since);
                }
            }
        }
        sleep(LOOK);
    }
    let stuck = progress.1.elapsed() >= STUCK;
    say("no more faults");
    fleet.heal();
    fleet.resume_all(&books);
    let deadline = Instant::now() + PATIENCE;
    while !fleet.work.unfinished(&books).is_empty() && Instant::now() < deadline {
        fleet.look();
        recoveries.covered(books.covered());
        sleep(LOOK);
    }
    let took = started.elapsed();
    let mut totals = Totals::of(&books, fleet.redeliveries());
    if stuck {
        let seconds = STUCK.as_secs();
        totals.remarks.push(format!("stuck: nothing more was covered for {seconds} s"));
    }
    for (run, asked) in &fleet.work.runs {
        match rig.status(run) {
            Some(status) => totals.add(run, asked.search, &status, &books),
            None if asked.is_promised => totals.add_unknown(run, asked.search),
            None => {}
        }
    }
    print(&totals, &recoveries, took);
    totals
}

fn print(totals: &Totals, recoveries: &Recoveries, took: Duration) {
    for (name, count, longest) in recoveries.kinds() {
        println!("{name:20} {count:4}  longest recovery {:6.2} s", longest.as_secs_f64());
    }
    let faults: usize = recoveries.kinds().map(|(_, count, _)| count).sum();
    let longest = recoveries.kinds().map(|(_, _, longest)| longest).max().unwrap_or_default();
    let mut figures = vec![("jobs", totals.jobs.to_string()), ("faults", faults.to_string())];
    figures.extend(recoveries.kinds().map(|(name, count, _)| (name, count.to_string())));
    let counts = [
        ("redeliveries", totals.redeliveries),
        ("duplicates_suppressed", totals.duplicates),
        ("requeued", totals.requeued),
        ("retried", totals.retried),
    ];
    figures.extend(counts.map(|(name, count)| (name, count.to_string())));
    figures.push(("seconds", took.as_secs().to_string()));
    figures.push(("longest_recovery_seconds", format!("{:.1}", longest.as_secs_f64())));
    figures.push(("lost", totals.lost.to_string()));
    figures.push(("doubled", totals.doubled.to_string()));
    let pairs = figures.iter().map(|(name, figure)| format!("{name} {figure}"));
    println!("{}", pairs.collect::<Vec<_>>().join(" "));
}
