//! Having the fleet test samples again: a run of its own, whose jobs are the sampled intervals.

use std::collections::{BTreeMap, BTreeSet};

use shared::{
    job::{Arch, DEFAULT_ATTEMPTS, Engine, Job, MAX_CANDIDATES, Urgency},
    messages::{MAX_PART_BYTES, MaxDead, RunOpened, RunPart},
    spans::{Span, Spans},
    witness::{NearMisses, Witness},
};

use super::{
    certified::seeds,
    claims::{Claims as _, LedgerClaims},
    findings::{Disagreement, Findings, Kind, Who, about_seed, about_spans, differences},
    retest::job,
    run::{Retested, RunCheck, counted, operations_per_second},
    verifier::{Tested, VerifyError, cut},
};
use crate::{
    aggregate::now,
    chance,
    cost::{self, Cost},
    ledger::{Ledger, Report, RunRow},
    planner::{MAX_PIECE_SECONDS, MAX_PIECE_SURVIVORS},
};

/// The kind of such a run.
pub const KIND: &str = "verify";
/// The bytes of one candidate on the wire at most.
const CANDIDATE_BYTES: usize = 9;
/// A share of dead jobs, in percent, that ends the run; as for any other.
const MAX_DEAD: f64 = 1.0;

/// A run that tests samples again, ready to be published.
#[derive(Debug)]
pub struct FleetPlan {
    /// Its manifest.
    pub manifest: RunOpened,
    /// Its candidates, if it has any.
    pub parts: Vec<RunPart>,
    /// Its jobs: one for each sampled interval, or more where one is long.
    pub jobs: Vec<Job>,
    /// For each sample, whether near misses can be compared: only when it is clear which witness
    /// they were counted with.
    comparable: Vec<bool>,
}

impl FleetPlan {
    /// A run called `name` that tests `chosen` again on `arch`.
    ///
    /// # Errors
    /// [`VerifyError`] when the ledger can't be read.
    pub fn new(
        check: &RunCheck<'_>,
        chosen: &[&Report],
        name: &str,
        arch: Arch,
        target_seconds: f64,
    ) -> Result<Self, VerifyError> {
        let manifest = check.manifest;
        let sieve = check.sieve;
        let operations = operations_per_second(check.ledger, sieve, arch)? * target_seconds;
        let tested: u128 = chosen.iter().map(|report| report.seeds()).sum();
        #[expect(clippy::cast_precision_loss, reason = "a prediction")]
        let engine = match arch {
            Arch::Cpu => cost::chosen(sieve, Engine::Auto, tested as f64),
            _ => Engine::Auto,
        };
        let by_time = seeds(Cost::of(sieve, engine).seeds_for(operations));
        #[expect(clippy::cast_precision_loss, reason = "an expectation needs no exact count")]
        let asked = manifest.requested.len() as f64;
        let chance = manifest.expected_by_chance / asked;
        let mut most = by_time.min(seeds(MAX_PIECE_SURVIVORS / chance)).max(1);
        if matches!(check.tested, Tested::Candidates { .. }) {
            most = most.min(MAX_CANDIDATES as u128);
        }
        let mut guesses = check.guesses();
        let mut jobs = Vec::new();
        let mut comparable = Vec::new();
        for report in chosen {
            let witness = guesses.planned(report);
            let clear =
                |near: NearMisses| guesses.by_count(report.seeds(), near.count).contains(&witness);
            comparable.push(counted(report).is_some_and(clear));
            let pieces = report.tested.iter().flat_map(|span| cut(*span, most));
            for piece in pieces {
                let id = format!("{name}.{:05}", jobs.len());
                jobs.push(fleet_job(
                    check,
                    report,
                    name,
                    id,
                    piece,
                    witness,
                    arch,
                    target_seconds,
                )?);
            }
        }
        let samples: Spans = chosen.iter().flat_map(|report| report.tested.clone()).collect();
        let parts = parts(name, &check.tested);
        let manifest = RunOpened {
            run: name.to_owned(),
            epoch: 1,
            kind: KIND.to_owned(),
            samples: samples.as_slice().to_vec(),
            parts: u32::try_from(parts.len()).unwrap_or(u32::MAX),
            jobs: jobs.len() as u64,
            expected_by_chance: chance::expected(samples.count(), chance),
            expected_error: manifest
                .expected_error
                .map(|error| chance::expected(samples.count(), error / asked)),
            engine: Engine::Auto,
            arch: Some(arch),
            chunk: None,
            urgency: Urgency::High,
            max_attempts: DEFAULT_ATTEMPTS,
            target_seconds,
            max_dead: MaxDead::Percent(MAX_DEAD),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            opened_at: now(),
            ..manifest.clone()
        };
        Ok(Self { manifest, parts, jobs, comparable })
    }

    /// Compares what the fleet found, in the ledger `ledger`, with what the run claims.
    ///
    /// # Errors
    /// [`VerifyError`] when a ledger can't be read.
    pub fn compare(
        &self,
        check: &RunCheck<'_>,
        chosen: &[&Report],
        (ledger, run): (&Ledger, &RunRow),
        findings: &mut Findings,
    ) -> Result<Retested, VerifyError> {
        let reports = ledger.reports(run)?;
        let mut by_first: BTreeMap<u64, Vec<&Report>> = BTreeMap::new();
        for report in reports.iter().filter(|report| report.tested.len() == 1) {
            by_first.entry(report.tested[0].first()).or_default().push(report);
        }
        let (claims, again) = (check.claims(), LedgerClaims { ledger, run });
        let mut retested = Retested { verify_run: Some(run.name.clone()), ..Retested::default() };
        for (report, comparable) in chosen.iter().zip(&self.comparable) {
            let tiles: Option<Vec<&Report>> =
                report.tested.iter().try_fold(Vec::new(), |mut tiles, span| {
                    tiles.extend(tile(*span, &by_first)?);
                    Some(tiles)
                });
            let tiles = tiles.unwrap_or_default();
            let elsewhere = tiles.iter().all(|tile| tile.node != report.node);
            retested.elsewhere += u64::from(!tiles.is_empty() && elsewhere);
            let names: BTreeSet<String> =
                tiles.iter().map(|tile| format!("{}/{}", tile.node, tile.device)).collect();
            let by = (!names.is_empty()).then(|| names.into_iter().collect::<Vec<_>>().join(", "));
            compare_survivors(check, report, (&claims, &again), by.as_deref(), findings)?;
            let seen: Option<Vec<NearMisses>> = tiles.iter().map(|tile| counted(tile)).collect();
            let reported = counted(report).filter(|_| *comparable && !tiles.is_empty());
            let (Some(seen), Some(reported)) = (seen, reported) else { continue };
            retested.near_misses_compared += 1;
            let mut found = NearMisses::default();
            seen.into_iter().for_each(|seen| found.merge(seen));
            if found != reported {
                let (kind, who) = (Kind::NearMisses, Some(Who::from(*report)));
                let about = about_spans(kind, &report.tested, Some(reported), Some(found), who);
                findings.add(Disagreement { found_by: by, ..about });
            }
        }
        Ok(retested)
    }
}

#[expect(clippy::too_many_arguments, reason = "a job is made of so many things")]
fn fleet_job(
    check: &RunCheck<'_>,
    report: &Report,
    name: &str,
    id: String,
    piece: Span,
    witness: Witness,
    arch: Arch,
    target_seconds: f64,
) -> Result<Job, VerifyError> {
    let seeds = check.tested.seeds(piece).ok_or_else(|| {
        VerifyError::Refused(format!("the candidates {piece} are not all in the run's list"))
    })?;
    let soft_seconds = 2.0 * target_seconds;
    Ok(Job {
        run: name.to_owned(),
        id,
        arch,
        // Another device is preferred to the one whose word is in doubt.
        failed_on: vec![format!("{}/{}", report.node, report.device)],
        soft_seconds,
        time_limit_seconds: (4.0 * soft_seconds).max(MAX_PIECE_SECONDS),
        ..job(check.sieve, Engine::Auto, witness, seeds)
    })
}

fn parts(name: &str, tested: &Tested) -> Vec<RunPart> {
    let Tested::Candidates { list, .. } = tested else { return Vec::new() };
    let most = MAX_PART_BYTES / CANDIDATE_BYTES;
    let part = |(part, seeds): (usize, &[u64])| RunPart {
        run: name.to_owned(),
        part: u32::try_from(part).unwrap_or(u32::MAX),
        first_index: (part * most) as u64,
        seeds: seeds.to_vec(),
        jobs: Vec::new(),
    };
    list.chunks(most).enumerate().map(part).collect()
}

fn compare_survivors(
    check: &RunCheck<'_>,
    report: &Report,
    (claims, again): (&LedgerClaims<'_>, &LedgerClaims<'_>),
    by: Option<&str>,
    findings: &mut Findings,
) -> Result<(), VerifyError> {
    for span in &report.tested {
        let claimed = check.tested.claimed(claims, *span)?;
        let found = check.tested.claimed(again, *span)?;
        let found = found.into_iter().map(|found| found.survivor);
        for (seed, claim, found) in differences(&claimed, found) {
            let kind = match (claim, found) {
                (Some(_), Some(_)) => Kind::Differs,
                (Some(_), None) => Kind::NotASurvivor,
                (None, _) => Kind::MissingSurvivor,
            };
            let who = match claim {
                Some(claim) => claims.who(claim.outcome)?,
                None => Some(Who::from(report)),
            };
            let seed = (seed, check.sieve.mode);
            let about = about_seed(kind, seed, claim.map(|claim| claim.survivor), found, who);
            findings.add(Disagreement { found_by: by.map(str::to_owned), ..about });
        }
    }
    Ok(())
}

/// Disjoint outcomes that make up an interval exactly, ascending, if there are such. What was
/// delivered twice may have been cut in two ways.
fn tile<'r>(span: Span, by_first: &BTreeMap<u64, Vec<&'r Report>>) -> Option<Vec<&'r Report>> {
    let mut last_to: BTreeMap<u128, &Report> = BTreeMap::new();
    let mut frontier = BTreeSet::from([u128::from(span.first())]);
    while let Some(position) = frontier.pop_first() {
        let next = u64::try_from(position).ok().and_then(|first| by_first.get(&first));
        for report in next.into_iter().flatten() {
            let end = report.tested[0].end();
            if end <= span.end() && !last_to.contains_key(&end) {
                last_to.insert(end, report);
                frontier.insert(end);
            }
        }
    }
    let mut tiles = Vec::new();
    let mut end = span.end();
    while end > u128::from(span.first()) {
        let report = *last_to.get(&end)?;
        tiles.push(report);
        end = u128::from(report.tested[0].first());
    }
    tiles.reverse();
    Some(tiles)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(id: i64, first: u64, last: u64) -> Report {
        Report {
            id,
            job: format!("r.{id}"),
            node: "n".to_owned(),
            device: "cpu0".to_owned(),
            model: "m".to_owned(),
            engine: Some(Engine::Scan),
            tested: vec![Span::new(first, last).unwrap()],
            near_misses: Some(NearMisses::default()),
            seconds: 1.0,
            at: 0.0,
        }
    }

    fn tiles(reports: &[Report], first: u64, last: u64) -> Option<Vec<i64>> {
        let mut by_first: BTreeMap<u64, Vec<&Report>> = BTreeMap::new();
        for report in reports {
            by_first.entry(report.tested[0].first()).or_default().push(report);
        }
        let tiles = tile(Span::new(first, last).unwrap(), &by_first)?;
        Some(tiles.iter().map(|report| report.id).collect())
    }

    #[test]
    fn an_interval_is_tiled_whatever_else_was_reported() {
        // Delivered twice: cut at 4 and 7, and at 6; the rest of the latter never came.
        let twice = [
            report(1, 0, 5),
            report(2, 0, 3),
            report(3, 4, 6),
            report(4, 7, 9),
            report(5, 7, 9),
            report(6, 9, 12),
        ];
        assert_eq!(tiles(&twice, 0, 9), Some(vec![2, 3, 4]));
        assert_eq!(tiles(&twice, 0, 5), Some(vec![1]));
        assert_eq!(tiles(&twice, 0, 12), None);
        assert_eq!(tiles(&twice, 1, 3), None);
        let top = [report(1, u64::MAX - 1, u64::MAX), report(2, 5, u64::MAX - 2)];
        assert_eq!(tiles(&top, 5, u64::MAX), Some(vec![2, 1]));
    }
}
