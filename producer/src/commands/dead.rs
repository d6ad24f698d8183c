//! `producer dead list|show|requeue|discard`.

use crate::{
    ask::Ask,
    context::Context,
    failure::Failure,
    ledger::{Attempt, DeadDetail, DeadFilter, DeadLetter},
    output,
};

/// What to do with dead letters.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum DeadAction {
    /// List them: jobs that nothing more is done for, and results that could not be taken
    List(Chosen),
    /// Show them with every try: where, when, what it said
    Show(Chosen),
    /// Queue them again as if they had never been tried, and open failed runs again
    Requeue(Chosen),
    /// Take them off the list for good; what their jobs would have tested stays untested
    Discard(Chosen),
}

/// Which dead letters are meant.
#[derive(Debug, clap::Args)]
pub(crate) struct Chosen {
    /// Jobs, by id
    #[arg(value_name = "JOB")]
    jobs: Vec<String>,
    /// Of this run
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// Of this kind of failure: Crashed, Crashed(11), ExitCode, Rejected, Poison
    #[arg(long, value_name = "KIND")]
    failure: Option<String>,
    /// All there are
    #[arg(long, conflicts_with_all = ["jobs", "run", "failure"])]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Chosen {
    fn filter(&self) -> DeadFilter {
        let (run, failure) = (self.run.clone(), self.failure.clone());
        DeadFilter { jobs: self.jobs.clone(), run, failure }
    }

    /// What changes something must be meant.
    fn meant(&self) -> Result<DeadFilter, Failure> {
        let filter = self.filter();
        if !self.all && filter == DeadFilter::default() {
            return Err(Failure::usage("say which: jobs by id, --run, --failure, or --all"));
        }
        Ok(filter)
    }
}

/// Lists, shows, queues again or discards dead letters.
pub(crate) fn dead(context: &Context, action: &DeadAction) -> Result<(), Failure> {
    match action {
        DeadAction::List(chosen) => {
            let letters: Vec<DeadLetter> = context.ask(&Ask::Dead(chosen.filter()))?;
            if chosen.json { output::json(&letters) } else { output::text(table(&letters)) }
        }
        DeadAction::Show(chosen) => {
            let details: Vec<DeadDetail> = context.ask(&Ask::DeadDetails(chosen.filter()))?;
            if details.is_empty() && !chosen.jobs.is_empty() {
                return Err(none(chosen));
            }
            if chosen.json {
                return output::json(&details);
            }
            output::text(details.iter().map(describe).collect::<Vec<_>>().join("\n"))
        }
        DeadAction::Requeue(chosen) => change(context, chosen, Ask::Requeue, "queued again"),
        DeadAction::Discard(chosen) => change(context, chosen, Ask::Discard, "discarded"),
    }
}

fn change(
    context: &Context,
    chosen: &Chosen,
    order: impl Fn(DeadFilter) -> Ask,
    done: &str,
) -> Result<(), Failure> {
    let letters: Vec<DeadLetter> = context.ask(&order(chosen.meant()?))?;
    if letters.is_empty() && !chosen.all {
        return Err(none(chosen));
    }
    if chosen.json {
        return output::json(&letters);
    }
    let mut text = format!("{} {done}\n", letters.len());
    for letter in &letters {
        text += &format!("{}  {}\n", letter.job, letter.failure);
    }
    output::text(text)
}

fn none(chosen: &Chosen) -> Failure {
    let what = match chosen.jobs.as_slice() {
        [] => "no dead letter is like that".to_owned(),
        [job] => format!("no dead letter is called '{job}'"),
        jobs => format!("no dead letter is among {}", jobs.join(", ")),
    };
    Failure::not_found(format!("{what} (`producer dead list` lists all)"))
}

fn table(letters: &[DeadLetter]) -> String {
    let rows: Vec<[String; 6]> = letters
        .iter()
        .map(|letter| {
            [
                letter.run.clone(),
                letter.job.clone(),
                letter.failure.clone(),
                letter.attempts.to_string(),
                letter.node.clone(),
                letter.last_error.clone(),
            ]
        })
        .collect();
    output::table(["run", "job", "failure", "tries", "last on", "why"], &rows)
}

fn describe(detail: &DeadDetail) -> String {
    let DeadDetail { letter, tries } = detail;
    let mut text =
        format!("{} of run {} ({}): {}\n", letter.job, letter.run, letter.kind, letter.failure);
    text += &format!("  {}\n", letter.last_error);
    for Attempt { attempt, node, device, model, verdict, failure, detail, .. } in tries {
        let failure = failure.as_deref().unwrap_or("");
        let detail = detail.as_deref().unwrap_or("");
        text += &format!(
            "  try {attempt} on {node}/{device} ({model}): {verdict} {failure}: {detail}\n"
        );
    }
    if !letter.stderr_tail.is_empty() {
        text += "  the end of its stderr:\n";
        for line in letter.stderr_tail.lines() {
            text += &format!("    {line}\n");
        }
    }
    text
}
