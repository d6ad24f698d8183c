//! One script job at an endpoint: handed over, asked after, called off, judged as one of our own.

use std::{
    fs, io,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use shared::{
    job::Job,
    outcome::{Failure, Return, Verdict},
    script::Script,
    wire::one_line,
};
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::{
    client::{Call, Endpoint, Trouble},
    message::{Answer, Content, Policy, Request, Status, Submission, Told, Way},
};
use crate::{
    child::{Ended, Order, Orders},
    job::{Taken, failed, now, returned, why},
    output::{Stdout as _, Tail},
    scripts::{End, Text, judge, look, pass_on},
};

/// The wait before a job is asked after for the first time; it grows by half.
const FIRST_LOOK: Duration = Duration::from_millis(200);
/// The longest such wait.
const LONGEST_LOOK: Duration = Duration::from_secs(10);
/// What the service may take, beyond the script's time limit, to start and end it.
const AROUND: Duration = Duration::from_secs(60);
/// How long a job that is called off is waited for.
const CALL_OFF: Duration = Duration::from_secs(10);
/// The shortest time limit that services take.
const SHORTEST: Duration = Duration::from_secs(5);
/// How long a job may stand in the service's queue however long it was kept before.
const LEAST_QUEUE: Duration = Duration::from_secs(30);
/// What is said of a job that the service ended by force.
const FORCE: i32 = Signal::KILL.as_raw();

/// What came of it before anything could be judged.
enum Early {
    /// It goes back.
    Back(Return, String),
    /// It has failed.
    Failed(Failure, String),
}

/// Has a script run at an endpoint and judges what came of it. Its inputs lie at these paths, its
/// outputs are put into `folder`.
pub(crate) async fn attempt(
    endpoint: &Arc<Endpoint>,
    (taken, script): (&Taken, &Script),
    (folder, placed): (&Path, &[(String, PathBuf)]),
    orders: Orders,
    drain: Duration,
) -> io::Result<Verdict> {
    let body = match body(endpoint, &taken.job, script, placed).await? {
        Ok(body) => body,
        Err(early) => return Ok(early.verdict(endpoint)),
    };
    let (told, heard) = watch::channel(None);
    let answered = tokio::select! {
        answered = converse(endpoint, taken, script, body, heard) => answered,
        never = pass_on(orders, told, drain) => match never {},
    };
    match answered {
        Ok(answer) => judged(&taken.job, script, answer, folder).await,
        Err(early) => Ok(early.verdict(endpoint)),
    }
}

impl Early {
    fn verdict(self, endpoint: &Endpoint) -> Verdict {
        let host = &endpoint.host;
        match self {
            Self::Back(reason, why) => returned(reason, format!("endpoint {host}: {why}")),
            Self::Failed(failure, why) => {
                failed(failure, format!("endpoint {host}: {why}"), String::new())
            }
        }
    }

    /// It is the endpoint's fault, or nobody's.
    fn busy(why: impl Into<String>) -> Self {
        Self::Back(Return::Busy, why.into())
    }
}

impl From<Trouble> for Early {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Endpoint(why) => Self::busy(why),
            Trouble::Forgotten => Self::busy("it has forgotten the job"),
            Trouble::TooLarge => Self::busy("the job is too large for it"),
            Trouble::Ordered => Self::busy("the job was ordered to end before it was handed over"),
        }
    }
}

/// The request, with the inputs in it.
async fn body(
    endpoint: &Arc<Endpoint>,
    job: &Job,
    script: &Script,
    placed: &[(String, PathBuf)],
) -> io::Result<Result<Arc<Vec<u8>>, Early>> {
    let files = script.inputs.iter().filter_map(|input| {
        let own = input.placeholder();
        let (_, path) = placed.iter().find(|(placeholder, _)| *placeholder == own)?;
        Some((input.name.clone(), path.clone()))
    });
    let files: Vec<(String, PathBuf)> = files.collect();
    let (job, script, most) = (job.clone(), script.clone(), endpoint.max_request);
    let name = script.name.clone();
    let made = spawn_blocking(move || {
        let content = |(name, path): (String, PathBuf)| {
            fs::read(path).map(|bytes| Content::new(&name, &bytes))
        };
        let inputs = files.into_iter().map(content).collect::<io::Result<Vec<_>>>()?;
        let limit = seconds(job.time_limit_seconds).max(SHORTEST) + AROUND;
        let execution_timeout = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let input = Request::new(&job, &script, inputs);
        let submission = Submission { input, policy: Policy { execution_timeout } };
        serde_json::to_vec(&submission).map_err(io::Error::other)
    });
    let body = made.await.map_err(io::Error::other)??;
    if body.len() as u64 > most {
        let why =
            format!("its request has {} bytes, more than endpoint.max_request_mb", body.len());
        endpoint.is_unsuited(&name, &why);
        return Ok(Err(Early::busy(why)));
    }
    Ok(Ok(Arc::new(body)))
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(86_400))
}

/// Hands a job over and asks after it until there is an answer, or none to be had.
async fn converse(
    endpoint: &Arc<Endpoint>,
    taken: &Taken,
    script: &Script,
    body: Arc<Vec<u8>>,
    mut orders: Orders,
) -> Result<Answer, Early> {
    let job = &taken.job;
    // What is being handed over must be known to be called off: only haste does not wait for it.
    let handed_over = tokio::select! {
        told = endpoint.ask(Call::Run(body), &orders) => told,
        () = haste(orders.clone()) => return Err(back(Return::Drain)),
    };
    let mut told = match handed_over {
        Ok(told) => told,
        Err(Trouble::TooLarge) => {
            endpoint.is_unsuited(&script.name, "it says that the request is too large (413)");
            return Err(Trouble::TooLarge.into());
        }
        Err(Trouble::Ordered) => return Err(back(ordered(&orders))),
        Err(trouble) => return Err(trouble.into()),
    };
    let id = told.id.clone();
    tracing::debug!(run = job.run, job = job.id, endpoint = endpoint.host, id, "handed over");
    let begun = Instant::now();
    // The broker takes a delivery back that is held for too long, and this one may have been kept.
    let kept = seconds((now() - taken.at).max(0.0));
    let patience = endpoint.queue.saturating_sub(kept).max(endpoint.queue.min(LEAST_QUEUE));
    let limit = seconds(job.time_limit_seconds);
    let mut at_work: Option<Instant> = None;
    let mut wait = FIRST_LOOK;
    loop {
        match told.status {
            Status::Completed => return completed(endpoint, script, told.output),
            Status::Failed => return Err(failure(&told)),
            Status::Cancelled => return Err(Early::busy("it has called the job off")),
            Status::TimedOut if at_work.is_some() => {
                let why = format!("the script was past its time limit of {limit:?} and then some");
                return Err(Early::Failed(Failure::Timeout, why));
            }
            Status::TimedOut => return Err(Early::busy("the job was in its queue for too long")),
            Status::InQueue if begun.elapsed() >= patience => {
                let why = format!("the job was in its queue for {patience:?}");
                endpoint.failed(&why, false);
                endpoint.call_off(id).await;
                return Err(Early::busy(why));
            }
            Status::InQueue => {}
            Status::InProgress => {
                let since = at_work.get_or_insert_with(Instant::now).elapsed();
                if since >= limit.saturating_add(AROUND) {
                    endpoint.call_off(id).await;
                    let why = format!("the script was past its time limit of {limit:?}");
                    return Err(Early::Failed(Failure::Timeout, why));
                }
            }
        }
        let next = async {
            sleep(wait).await;
            endpoint.ask(Call::Status(id.clone()), &orders.clone()).await
        };
        let changed = orders.clone();
        let asked = tokio::select! {
            asked = next => asked,
            () = any_order(changed) => Err(Trouble::Ordered),
        };
        wait = (wait + wait / 2).min(LONGEST_LOOK);
        told = match asked {
            Ok(told) => told,
            Err(Trouble::Ordered) => {
                return called_off(endpoint, script, id, &mut orders).await;
            }
            Err(trouble) => {
                // Whatever it does with the job, nobody will ask for it.
                if matches!(trouble, Trouble::Endpoint(_)) {
                    call_off_behind(endpoint, id);
                }
                return Err(trouble.into());
            }
        };
    }
}

/// Calls a job off because of an order. What it has done by then counts.
async fn called_off(
    endpoint: &Arc<Endpoint>,
    script: &Script,
    id: String,
    orders: &mut Orders,
) -> Result<Answer, Early> {
    let reason = ordered(orders);
    if matches!(*orders.borrow(), Some(Order::Kill)) {
        call_off_behind(endpoint, id);
        return Err(back(reason));
    }
    match timeout(CALL_OFF, endpoint.call_off(id)).await {
        Ok(Some(Told { status: Status::Completed, output, .. })) => {
            completed(endpoint, script, output)
        }
        _ => Err(back(reason)),
    }
}

/// Calls a job off without waiting for it.
fn call_off_behind(endpoint: &Arc<Endpoint>, id: String) {
    let endpoint = Arc::clone(endpoint);
    tokio::spawn(async move { endpoint.call_off(id).await });
}

fn ordered(orders: &Orders) -> Return {
    match *orders.borrow() {
        Some(Order::Finish(reason)) => reason,
        _ => Return::Drain,
    }
}

fn back(reason: Return) -> Early {
    Early::Back(reason, format!("{}, and the job was called off", why(reason)))
}

/// Comes back when an order to kill has come.
async fn haste(mut orders: Orders) {
    if orders.wait_for(|order| *order == Some(Order::Kill)).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Comes back when an order has come.
async fn any_order(mut orders: Orders) {
    if orders.wait_for(Option::is_some).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// What the service says of a job that has failed there, and not by the handler's own word: its
/// worker was killed, say. Whose fault that is shows elsewhere.
fn failure(told: &Told) -> Early {
    let said = told.error.as_ref().map(one_line).unwrap_or_default();
    if said.to_lowercase().contains("not found") {
        // As RunPod's local server says it.
        return Trouble::Forgotten.into();
    }
    Early::Failed(Failure::Crashed(FORCE), format!("it says that the job failed: {said}"))
}

/// What the handler has answered.
fn completed(
    endpoint: &Endpoint,
    script: &Script,
    output: Option<serde_json::Value>,
) -> Result<Answer, Early> {
    let read = Answer::read(output, script).and_then(|answer| {
        let known = (-64..=255).contains(&answer.exit_code);
        known.then_some(answer).ok_or_else(|| "its handler's exit code is none".to_owned())
    });
    match read {
        Ok(Answer { status: Way::Refused, why, .. }) => {
            let why = one_line(why);
            endpoint.is_unsuited(&script.name, &why);
            Err(Early::busy(format!("its handler refused the job: {why}")))
        }
        Ok(answer) => Ok(answer),
        Err(why) => {
            let why = one_line(why);
            endpoint.failed(&why, false);
            Err(Early::busy(why))
        }
    }
}

/// The verdict on a script that has run, by the rules for those that run here.
async fn judged(job: &Job, script: &Script, answer: Answer, folder: &Path) -> io::Result<Verdict> {
    let Answer { status, exit_code, stdout_tail, stderr_tail, files, .. } = answer;
    // As the kernel has it: the code in the second byte, or a signal in the first.
    let raw = if exit_code < 0 { -exit_code } else { exit_code << 8 };
    let limit = Duration::try_from_secs_f64(job.time_limit_seconds).unwrap_or(Duration::MAX);
    let ended = (status == Way::Timeout).then_some(Ended::TimeLimit(limit));
    let (mut said, mut tail) = (Text::default(), Tail::default());
    said.take_in(stdout_tail.as_bytes());
    tail.take_in(stderr_tail.as_bytes());
    let wrote = exit_code == 0 && ended.is_none();
    let output = match script.output.clone().filter(|_| wrote) {
        None => None,
        Some(name) => {
            let (folder, job) = (folder.to_owned(), job.clone());
            let looked = spawn_blocking(move || {
                for file in files {
                    let bytes = file.bytes().map_err(|why| (Failure::InvalidOutput, why))?;
                    fs::write(folder.join(&file.name), bytes).map_err(|error| {
                        let why = format!("its output {} can't be kept: {error}", file.name);
                        (Failure::SpawnFailed, why)
                    })?;
                }
                look(&folder, &job, &name)
            });
            Some(looked.await.map_err(io::Error::other)?)
        }
    };
    let line = said.last_line();
    let status = ExitStatus::from_raw(raw);
    Ok(judge(script.index, End { status, ended, line, stderr: tail.text(), output }))
}
