//! The jobs of a plan, as they are published first.

use shared::{
    job::{Job, Task},
    sieve::Seeds,
    spans::Span,
};

use crate::{
    chance::Witnesses,
    planner::Plan,
    request::{Asked, Question, Request},
};

/// The jobs of a plan, in the order of its pieces: first publications, first attempts.
pub fn jobs<'a>(
    request: &'a Request,
    plan: &'a Plan,
    run: &'a str,
) -> impl Iterator<Item = Job> + 'a {
    let mut task = tasks(request);
    plan.pieces.iter().enumerate().map(move |(number, piece)| Job {
        run: run.to_owned(),
        epoch: 1,
        id: format!("{run}.{number:05}"),
        seq: 1,
        task: task(piece.span),
        arch: piece.arch,
        urgency: request.urgency,
        engine: plan.engine,
        attempt: 1,
        max_attempts: request.max_attempts,
        starts: 0,
        refused_by: Vec::new(),
        failed_on: Vec::new(),
        time_limit_seconds: plan.time_limit_seconds,
        soft_seconds: plan.soft_seconds,
        memory_mb: 0,
    })
}

/// What makes the task of a piece.
fn tasks(request: &Request) -> Box<dyn FnMut(Span) -> Task + '_> {
    let seeds = |span| seeds(&request.asked, span);
    match &request.question {
        Question::Sieve(sieve) => {
            let mut witnesses = Witnesses::of(sieve);
            Box::new(move |span| {
                let witness = witnesses.for_piece(span.len());
                Task::Sieve { sieve: sieve.clone(), seeds: seeds(span), witness }
            })
        }
        Question::Statistics(statistics) => {
            Box::new(move |span| Task::Statistics { statistics: *statistics, seeds: seeds(span) })
        }
    }
}

fn seeds(asked: &Asked, span: Span) -> Seeds {
    match asked {
        Asked::Range(_) => Seeds::Range(span),
        Asked::Candidates(seeds) => {
            let index = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
            let listed = seeds.get(index(span.first())..=index(span.last()));
            let seeds = listed.map(<[u64]>::to_vec).unwrap_or_default();
            Seeds::Candidates { first_index: span.first(), seeds }
        }
    }
}
