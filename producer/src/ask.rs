//! What commands ask of a ledger, and tell it: the same whether it lies in this data folder or
//! behind `producer serve`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use shared::{
    input::StagedSet,
    messages::{NodeOrder, RunOpened},
};

use crate::{
    aggregate::now,
    context::{ledger_homes, local_home},
    failure::Failure,
    fleet::Known,
    ledger::{DeadFilter, DeadLetter, Ledger, LedgerError, RunRow},
    staged::{self, StageStatus},
    summary::RunSummary,
};

/// Nodes that were silent for longer are not shown unless all are asked for, in seconds.
const NODES_LATELY: f64 = 60.0;
/// A node that was silent for longer is not known any more, in seconds.
const NODES_EVER: f64 = 7.0 * 24.0 * 3600.0;

/// A question, or an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Everything about a run, with at most `limit` survivors: a [`RunSummary`].
    Status {
        /// The run.
        run: String,
        /// How many survivors.
        limit: u64,
    },
    /// Runs, the newest first: [`RunLine`]s.
    Runs {
        /// Leave out those that have ended.
        only_open: bool,
    },
    /// Nodes: [`NodeLine`]s.
    Nodes {
        /// Those too that were not heard lately.
        all: bool,
    },
    /// What a plan needs: [`Known`].
    Fleet,
    /// Give a run up: a [`RunChange`].
    Cancel(String),
    /// Hold a run: a [`RunChange`].
    Pause(String),
    /// Go on with a run: a [`RunChange`].
    Resume(String),
    /// Delete a run that has ended: a [`RunChange`].
    Forget(String),
    /// Tell a node to stand aside, or to work again: a [`NodeChange`].
    Order {
        /// The node.
        node: String,
        /// `None`: work again.
        order: Option<NodeOrder>,
    },
    /// Dead letters: [`DeadLetter`]s.
    Dead(DeadFilter),
    /// The same with every try: [`DeadDetail`]s.
    DeadDetails(DeadFilter),
    /// Queue dead letters again: the [`DeadLetter`]s that were.
    Requeue(DeadFilter),
    /// Take dead letters off the list: the [`DeadLetter`]s that were.
    Discard(DeadFilter),
    /// What is staged, and where it stands: a [`StageStatus`].
    Stages,
    /// Have every node stage this: a [`StageStatus`]. Its files are kept already.
    Stage(StagedSet),
    /// Take a step's files off the nodes: a [`StageStatus`].
    Unstage(String),
}

/// A run in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunLine {
    /// Its id.
    pub run: String,
    /// `open`, `paused`, `complete`, `cancelled` or `failed`.
    pub state: String,
    /// `sieve` or `reverse_sieve`.
    pub kind: Option<String>,
    /// The generator.
    pub family: Option<String>,
    /// How many seeds (or candidates) were asked for.
    pub requested: u128,
    /// How many were tested.
    pub covered: u128,
    /// How many survivors there are.
    pub survivor_count: u64,
    /// How many chance alone would leave.
    pub expected_by_chance: Option<f64>,
    /// When it was opened, in Unix seconds.
    pub opened_at: f64,
    /// When it ended.
    pub ended_at: Option<f64>,
}

/// A worker in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeLine {
    /// The node.
    pub node: String,
    /// The worker on it.
    pub instance: String,
    /// How many slots it has.
    pub slots: usize,
    /// How many of them hold a job.
    pub running: usize,
    /// Whether it is shutting down or draining.
    pub draining: bool,
    /// What its node was told: `pause` or `drain`.
    pub order: Option<NodeOrder>,
    /// Its devices that take nothing for now.
    pub quarantined: Vec<String>,
    /// Its devices that the worker itself gives nothing to do, and why.
    #[serde(default)]
    pub unfit: Vec<String>,
    /// The jobs that fit it, but not now, and what each waits for.
    #[serde(default)]
    pub kept: Vec<String>,
    /// Seconds since it was heard.
    pub heard_seconds_ago: f64,
}

/// What became of a run by an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunChange {
    /// The run.
    pub run: String,
    /// Where it stands now; `forgotten` when it is gone.
    pub state: String,
}

/// What a node is told now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeChange {
    /// The node.
    pub node: String,
    /// `None`: to work.
    pub order: Option<NodeOrder>,
}

/// The answer to `ask` as JSON, from the ledgers in the data folder `home`.
///
/// # Errors
/// [`Failure`] with the exit code of the command that asked.
pub fn answer(home: &Path, ask: &Ask) -> Result<String, Failure> {
    match ask {
        Ask::Status { run, limit } => {
            let (ledger, run) = find_run(home, run)?;
            json(&RunSummary::read(&ledger, &run, *limit)?)
        }
        Ask::Runs { only_open } => json(&run_lines(home, *only_open)?),
        Ask::Nodes { all } => json(&node_lines(home, *all)?),
        Ask::Fleet => {
            json(&Ledger::read(home)?.map_or_else(|| Ok(Known::default()), |l| Known::of(&l))?)
        }
        Ask::Cancel(run) => change(home, run, |ledger| ledger.cancel(run, now())),
        Ask::Pause(run) => change(home, run, |ledger| ledger.pause(run)),
        Ask::Resume(run) => change(home, run, |ledger| ledger.resume(run)),
        Ask::Forget(run) => forget(home, run),
        Ask::Order { node, order } => order_node(home, node, *order),
        Ask::Dead(filter) => json(&of_all(home, |ledger| ledger.dead_letters(filter))?),
        Ask::DeadDetails(filter) => json(&of_all(home, |ledger| ledger.dead_details(filter))?),
        Ask::Requeue(filter) => {
            change_dead(home, filter, |ledger| ledger.requeue_dead(filter, now()))
        }
        Ask::Stages => json(&StageStatus::read(home)?),
        Ask::Stage(set) => json(&staged::stage(home, set)?),
        Ask::Unstage(step) => json(&staged::unstage(home, step)?),
        Ask::Discard(filter) => {
            change_dead(home, filter, |ledger| ledger.discard_dead(filter, now()))
        }
    }
}

fn json(value: &impl Serialize) -> Result<String, Failure> {
    Ok(serde_json::to_string(value)?)
}

/// The ledgers of a data folder: its own, and those of local runs.
fn ledgers(home: &Path) -> Result<Vec<(PathBuf, Ledger)>, Failure> {
    let mut found = Vec::new();
    for home in ledger_homes(home) {
        if let Some(ledger) = Ledger::read(&home)? {
            found.push((home, ledger));
        }
    }
    Ok(found)
}

/// What all of them have, one after another.
fn of_all<T>(
    home: &Path,
    read: impl Fn(&Ledger) -> Result<Vec<T>, LedgerError>,
) -> Result<Vec<T>, Failure> {
    let mut all = Vec::new();
    for (_, ledger) in ledgers(home)? {
        all.extend(read(&ledger)?);
    }
    Ok(all)
}

/// The ledger that knows a run: the data folder's, else the local run's own.
///
/// # Errors
/// [`Failure`] with exit code 5 when none does.
pub fn find_run(home: &Path, name: &str) -> Result<(Ledger, RunRow), Failure> {
    find_run_at(home, name).map(|(_, ledger, run)| (ledger, run))
}

/// The same with the folder of that ledger.
fn find_run_at(home: &Path, name: &str) -> Result<(PathBuf, Ledger, RunRow), Failure> {
    // The later runs of a study lie in the folder of its first: `study-x.2` in that of `study-x`.
    let first = name.rsplit_once('.').map(|(first, _)| local_home(home, first));
    for at in [home.to_owned(), local_home(home, name)].into_iter().chain(first) {
        if let Some(ledger) = Ledger::read(&at)?
            && let Some(run) = ledger.run(name)?
        {
            return Ok((at, ledger, run));
        }
    }
    Err(Failure::no_run(name, home))
}

fn change(
    home: &Path,
    name: &str,
    change: impl Fn(&mut Ledger) -> Result<Option<RunRow>, LedgerError>,
) -> Result<String, Failure> {
    let (at, _, _) = find_run_at(home, name)?;
    // Somebody else may have deleted it meanwhile.
    let gone = || Failure::no_run(name, home);
    let run = change(&mut Ledger::write(&at)?)?.ok_or_else(gone)?;
    json(&RunChange { run: run.name, state: run.state.name().to_owned() })
}

/// Deletes a run; a local one with its whole folder.
fn forget(home: &Path, name: &str) -> Result<String, Failure> {
    let forgotten = RunChange { run: name.to_owned(), state: "forgotten".to_owned() };
    let (at, _, _) = find_run_at(home, name)?;
    if at == home {
        change(home, name, |ledger| ledger.forget(name, now()))?;
    } else {
        // Whoever still works on it holds this.
        let (mut ledger, lock) = Ledger::own(&at)?;
        ledger.forget(name, now())?;
        if ledger.runs()?.is_empty() {
            fs::remove_dir_all(&at).map_err(|error| {
                Failure::unreachable(format!("{} can't be deleted: {error}", at.display()))
            })?;
        }
        drop((ledger, lock));
    }
    json(&forgotten)
}

fn change_dead(
    home: &Path,
    filter: &DeadFilter,
    change: impl Fn(&mut Ledger) -> Result<Vec<DeadLetter>, LedgerError>,
) -> Result<String, Failure> {
    let mut changed = Vec::new();
    for (at, ledger) in ledgers(home)? {
        if !ledger.dead_letters(filter)?.is_empty() {
            changed.extend(change(&mut Ledger::write(&at)?)?);
        }
    }
    json(&changed)
}

fn run_lines(home: &Path, only_open: bool) -> Result<Vec<RunLine>, Failure> {
    let mut lines = Vec::new();
    for (_, ledger) in ledgers(home)? {
        for run in ledger.runs()? {
            if !(only_open && run.state.is_ended()) {
                lines.push(run_line(&ledger, &run)?);
            }
        }
    }
    lines.sort_by(|a, b| b.opened_at.total_cmp(&a.opened_at));
    Ok(lines)
}

fn run_line(ledger: &Ledger, run: &RunRow) -> Result<RunLine, Failure> {
    let manifest = run.manifest.as_ref();
    Ok(RunLine {
        run: run.name.clone(),
        state: run.state.name().to_owned(),
        kind: manifest.map(|m| m.kind.clone()),
        family: manifest.and_then(RunOpened::generator).map(str::to_owned),
        requested: manifest.map_or(0, |m| m.requested.len()),
        covered: ledger.covered(run)?.count(),
        survivor_count: run.counts.survivors,
        expected_by_chance: manifest.map(|m| m.expected_by_chance),
        opened_at: run.opened_at,
        ended_at: run.ended_at,
    })
}

fn node_lines(home: &Path, all: bool) -> Result<Vec<NodeLine>, Failure> {
    let Some(ledger) = Ledger::read(home)? else { return Ok(Vec::new()) };
    let fleet = ledger.fleet_state(now())?;
    let since = now() - if all { NODES_EVER } else { NODES_LATELY };
    let lines = ledger.nodes(since)?.into_iter().map(|seen| {
        let beat = seen.heartbeat;
        let devices = beat.slots.iter().map(|slot| format!("{}/{}", beat.node, slot.device.name));
        let unfit = beat.slots.iter().filter_map(|slot| {
            slot.unfit.as_ref().map(|why| format!("{}: {why}", slot.device.name))
        });
        let kept = beat.kept.iter().map(|held| {
            let waits_for = held.waits_for.as_deref().unwrap_or("it may start");
            format!("{} of {} ({waits_for})", held.job, held.run)
        });
        NodeLine {
            unfit: unfit.collect(),
            kept: kept.collect(),
            quarantined: devices.filter(|device| fleet.quarantined.contains(device)).collect(),
            slots: beat.slots.len(),
            running: beat.slots.iter().filter(|slot| slot.job.is_some()).count(),
            draining: beat.draining,
            order: fleet.nodes.get(&beat.node).copied(),
            heard_seconds_ago: (now() - seen.heard_at).max(0.0),
            node: beat.node,
            instance: beat.instance,
        }
    });
    Ok(lines.collect())
}

fn order_node(home: &Path, node: &str, order: Option<NodeOrder>) -> Result<String, Failure> {
    let known = match Ledger::read(home)? {
        Some(ledger) => {
            ledger.nodes(now() - NODES_EVER)?.iter().any(|seen| seen.heartbeat.node == node)
                || ledger.node_orders()?.contains_key(node)
        }
        None => false,
    };
    if !known {
        return Err(Failure::no_node(node));
    }
    Ledger::write(home)?.order_node(node, order, now())?;
    json(&NodeChange { node: node.to_owned(), order })
}
