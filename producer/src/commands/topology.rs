//! `producer topology apply|check`: the broker's exchanges and queues, and whose they are.

use serde::Serialize;
use shared::broker::{
    Owner, Patience, TopologyReport, apply_topology, check_topology, claim_ledger, owns_ledger,
};

use crate::{context::Context, failure::Failure, ledger::Ledger, output};

/// What to do with the topology.
#[derive(Debug, Clone, Copy, clap::Subcommand)]
pub(crate) enum TopologyAction {
    /// Declare every exchange and queue, and make the broker this data folder's ledger's own;
    /// doing it again changes nothing
    Apply {
        /// Take the broker over from another ledger: only when that one is lost
        #[arg(long)]
        adopt: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say what is missing, changing nothing; exit code 3 when something is
    Check {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Default, Serialize)]
struct Report {
    present: Vec<String>,
    created: Vec<String>,
    missing: Vec<String>,
    conflicting: Vec<Conflict>,
    ledger: Ownership,
}

/// Whose the broker is.
#[derive(Debug, Default, Serialize)]
struct Ownership {
    /// The uuid of this data folder's ledger; none before there is one.
    uuid: Option<String>,
    /// `this`, `none` or `other`; `unknown` without a ledger to compare with.
    owner: &'static str,
    /// The other's uuid, where the broker tells.
    other: Option<String>,
}

#[derive(Debug, Serialize)]
struct Conflict {
    name: String,
    why: String,
}

/// Applies or checks.
pub(crate) async fn topology(context: &Context, action: TopologyAction) -> Result<(), Failure> {
    let settings = &context.settings.broker;
    let (TopologyAction::Apply { json, .. } | TopologyAction::Check { json }) = action;
    let embedded = settings.url.starts_with("embedded:");
    let mut report = Report::default();
    if embedded {
        // Opening it checks that its folder can be used.
        context.broker("producer", Patience::COMMAND).await?.close().await;
        output::say("the embedded broker makes its queues on first use");
    } else {
        let found = match action {
            TopologyAction::Apply { .. } => apply_topology(settings, Patience::COMMAND).await,
            TopologyAction::Check { .. } => check_topology(settings, Patience::COMMAND).await,
        };
        report.take(found?);
    }
    report.ledger = match action {
        TopologyAction::Apply { adopt, .. } => claim(context, adopt).await?,
        TopologyAction::Check { .. } => owner(context).await?,
    };
    if json {
        output::json(&report)?;
    } else {
        output::text(report.describe(embedded))?;
    }
    report.verdict(embedded)
}

async fn claim(context: &Context, adopt: bool) -> Result<Ownership, Failure> {
    let uuid = Ledger::write(&context.home)?.uuid()?;
    let settings = &context.settings.broker;
    match claim_ledger(settings, &context.home, &uuid, adopt, Patience::COMMAND).await? {
        Owner::This => {}
        Owner::Nobody => output::say(format!("the broker belongs to ledger {uuid} now")),
        Owner::Other(from) => output::say(format!(
            "the broker belongs to ledger {uuid} now; it belonged to {}",
            from.as_deref().unwrap_or("another")
        )),
    }
    Ok(Ownership { uuid: Some(uuid), owner: "this", other: None })
}

async fn owner(context: &Context) -> Result<Ownership, Failure> {
    let Some(ledger) = Ledger::read(&context.home)? else {
        return Ok(Ownership { uuid: None, owner: "unknown", other: None });
    };
    let uuid = ledger.uuid()?;
    let settings = &context.settings.broker;
    let owner = owns_ledger(settings, &context.home, &uuid, Patience::COMMAND).await?;
    let (owner, other) = match owner {
        Owner::This => ("this", None),
        Owner::Nobody => ("none", None),
        Owner::Other(other) => ("other", other),
    };
    Ok(Ownership { uuid: Some(uuid), owner, other })
}

impl Report {
    fn take(&mut self, found: TopologyReport) {
        let TopologyReport { present, created, missing, conflicting } = found;
        let conflict = |(name, why)| Conflict { name, why };
        self.conflicting = conflicting.into_iter().map(conflict).collect();
        (self.present, self.created, self.missing) = (present, created, missing);
    }

    fn describe(&self, embedded: bool) -> String {
        let mut text = String::new();
        if !embedded {
            let (there, made) = (self.present.len(), self.created.len());
            text += &format!("{there} exchanges and queues were there, {made} were made\n");
        }
        for name in &self.missing {
            text += &format!("missing: {name}\n");
        }
        for Conflict { name, why } in &self.conflicting {
            text += &format!("different: {name}: {why}\n");
        }
        text += &match (self.ledger.owner, &self.ledger.uuid, &self.ledger.other) {
            ("this", Some(uuid), _) => format!("owner: this ledger, {uuid}\n"),
            ("none", ..) => "owner: none yet\n".to_owned(),
            ("other", _, Some(other)) => format!("owner: another ledger, {other}\n"),
            ("other", ..) => "owner: another ledger\n".to_owned(),
            _ => "owner: unknown, for this data folder has no ledger to compare with\n".to_owned(),
        };
        text
    }

    fn verdict(&self, embedded: bool) -> Result<(), Failure> {
        let faults = self.missing.len() + self.conflicting.len();
        if faults > 0 {
            return Err(Failure::unreachable(format!(
                "{faults} exchanges or queues are missing or different: `producer topology apply` \
                 makes what is missing; delete what is different while it is empty, then apply again"
            )));
        }
        match self.ledger.owner {
            // The first aggregator takes an embedded broker.
            "none" if !embedded => Err(Failure::unreachable(
                "the broker belongs to no ledger yet: run `producer topology apply` once",
            )),
            "other" => Err(Failure::unreachable(
                "the broker belongs to another ledger: use that ledger's RIGQUEUE_HOME or another \
                 broker; if it is lost, `producer topology apply --adopt` takes the broker over",
            )),
            _ => Ok(()),
        }
    }
}
