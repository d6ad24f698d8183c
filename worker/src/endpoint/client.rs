//! One endpoint: its requests, paced, tried again, and watched by its breaker.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use shared::{
    job::{Arch, Job, Task},
    retry::Waits,
    settings::EndpointSettings,
    wire::one_line,
};
use tokio::{task::spawn_blocking, time::sleep};
use ureq::Agent;

use super::{
    breaker::{Breaker, Change},
    message::{self, Told},
};
use crate::child::Orders;

/// How often a request is made before its job goes elsewhere.
const TRIES: u32 = 4;
/// The wait before the second try; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// About the longest.
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// The largest answer, in bytes.
const MAX_ANSWER: u64 = 64 << 20;
/// The most scripts that are remembered to be nothing for an endpoint.
const MAX_UNSUITED: usize = 1000;

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It is the endpoint's: so often asked, it did not answer as it should.
    Endpoint(String),
    /// It does not know the job.
    Forgotten,
    /// It takes no request of that size.
    TooLarge,
    /// The job was ordered to end before it answered.
    Ordered,
}

/// What is asked.
#[derive(Debug, Clone)]
pub enum Call {
    /// `/run`, with a body.
    Run(Arc<Vec<u8>>),
    /// `/status/{id}`.
    Status(String),
    /// `/cancel/{id}`.
    Cancel(String),
}

impl Call {
    fn path(&self) -> String {
        match self {
            Self::Run(_) => "/run".to_owned(),
            Self::Status(id) => format!("/status/{id}"),
            Self::Cancel(id) => format!("/cancel/{id}"),
        }
    }
}

/// What came of one request.
enum Reply {
    Told(Told),
    Trouble(Trouble),
    /// It failed; nothing but other settings would help if `hopeless`.
    Failed {
        why: String,
        hopeless: bool,
    },
    /// It wants to be asked otherwise.
    Again,
}

/// A serverless endpoint.
pub struct Endpoint {
    /// Its host, for people.
    pub host: String,
    /// What its scripts run on.
    pub arch: Arch,
    /// How long a job may stand in its queue.
    pub queue: Duration,
    /// The largest request, in bytes.
    pub max_request: u64,
    url: String,
    token: String,
    agent: Agent,
    /// The time between two requests.
    pace: Duration,
    /// When the next may be made.
    next: Mutex<Instant>,
    breaker: Mutex<Breaker>,
    /// Whether it wants `/status` to be posted, as RunPod's local server does.
    posts: AtomicBool,
    /// Scripts that it has refused.
    unsuited: Mutex<BTreeSet<String>>,
}

impl fmt::Debug for Endpoint {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("url", &self.url).finish_non_exhaustive()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Endpoint {
    /// As its settings say, for a worker of that architecture which keeps jobs for `admission_wait`.
    #[must_use]
    pub fn new(settings: &EndpointSettings, arch: Arch, admission_wait: Duration) -> Self {
        let url = settings.url.trim_end_matches('/').to_owned();
        let host = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        let host = host.split('/').next().unwrap_or_default().to_owned();
        let agent = Agent::config_builder()
            .timeout_global(Some(settings.request_timeout.duration()))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .build()
            .into();
        let pace = Duration::try_from_secs_f64(1.0 / settings.requests_per_second);
        Self {
            host,
            arch: settings.arch.unwrap_or(arch),
            queue: settings.queue_timeout.duration().min(admission_wait),
            max_request: settings.max_request_mb << 20,
            url,
            token: settings.token.clone(),
            agent,
            pace: pace.unwrap_or(Duration::from_secs(1)),
            next: Mutex::new(Instant::now()),
            breaker: Mutex::new(Breaker::new(settings.failures, settings.cooldown.duration())),
            posts: AtomicBool::new(false),
            unsuited: Mutex::default(),
        }
    }

    /// Whether it could ever run a job: a script for its architecture without staged files, whose
    /// inputs fit into a request, and which it has not refused.
    #[must_use]
    pub fn suits(&self, job: &Job) -> bool {
        let Task::Script(script) = &job.task else { return false };
        let inputs = script.inputs.iter().map(|input| input.size).fold(0, u64::saturating_add);
        (script.anywhere || job.arch == self.arch)
            && script.staged.is_none()
            && message::size(script, inputs) <= self.max_request
            && !locked(&self.unsuited).contains(&script.name)
    }

    /// It can't run that script: it is not asked again.
    pub(super) fn is_unsuited(&self, script: &str, why: &str) {
        tracing::warn!(endpoint = self.host, script, why, "it is given no more of these scripts");
        let mut unsuited = locked(&self.unsuited);
        if unsuited.len() >= MAX_UNSUITED {
            unsuited.clear();
        }
        unsuited.insert(script.to_owned());
    }

    /// Whether a job may be given to it now.
    #[must_use]
    pub fn takes(&self) -> bool {
        locked(&self.breaker).takes(Instant::now())
    }

    /// Why it takes nothing.
    #[must_use]
    pub fn why_unfit(&self) -> Option<String> {
        locked(&self.breaker).why(Instant::now())
    }

    /// A job is given to it.
    pub fn begin(&self) {
        locked(&self.breaker).begin(Instant::now());
    }

    /// A job that was given to it has ended.
    pub fn ended(&self) {
        locked(&self.breaker).untried(Instant::now());
    }

    fn worked(&self) {
        if locked(&self.breaker).worked() == Change::Closed {
            tracing::info!(endpoint = self.host, "it works again");
        }
    }

    /// Something is wrong with it, and not with a job. Returns whether it is left alone now.
    pub(super) fn failed(&self, why: &str, hopeless: bool) -> bool {
        let mut breaker = locked(&self.breaker);
        if let Change::Opened(wait) = breaker.failed(why, hopeless, Instant::now()) {
            tracing::warn!(endpoint = self.host, why, "it takes nothing for {wait:?}");
        }
        breaker.is_open()
    }

    /// Waits until one more request may be made.
    async fn turn(&self) {
        let wait = reserve(&mut locked(&self.next), Instant::now(), self.pace);
        sleep(wait).await;
    }

    /// Asks, and asks again while that may help: with growing waits, until its breaker opens or an
    /// order comes.
    ///
    /// # Errors
    /// [`Trouble`] says why there is no answer.
    pub async fn ask(self: &Arc<Self>, call: Call, orders: &Orders) -> Result<Told, Trouble> {
        let mut waits = Waits::new(FIRST_WAIT, LONGEST_WAIT);
        let mut tries = 0;
        loop {
            let (why, is_open) = match self.once(&call).await {
                Reply::Told(told) => {
                    self.worked();
                    return Ok(told);
                }
                Reply::Trouble(trouble) => {
                    self.worked();
                    return Err(trouble);
                }
                Reply::Again => continue,
                Reply::Failed { why, hopeless } => {
                    let is_open = self.failed(&why, hopeless);
                    (why, is_open)
                }
            };
            tries += 1;
            if is_open || tries >= TRIES {
                return Err(Trouble::Endpoint(why));
            }
            tracing::debug!(endpoint = self.host, why, "it is asked again");
            sleep(waits.next_wait()).await;
            if orders.borrow().is_some() {
                return Err(Trouble::Ordered);
            }
        }
    }

    /// Asks once, whatever comes of it, as what is called off need not be known to be.
    pub(super) async fn call_off(self: &Arc<Self>, id: String) -> Option<Told> {
        match self.once(&Call::Cancel(id)).await {
            Reply::Told(told) => Some(told),
            Reply::Trouble(trouble) => {
                tracing::debug!(endpoint = self.host, ?trouble, "a job could not be called off");
                None
            }
            Reply::Failed { why, .. } => {
                tracing::warn!(endpoint = self.host, why, "a job could not be called off");
                None
            }
            Reply::Again => None,
        }
    }

    async fn once(self: &Arc<Self>, call: &Call) -> Reply {
        self.turn().await;
        let (endpoint, call) = (Arc::clone(self), call.clone());
        let sent = spawn_blocking(move || endpoint.send(&call)).await;
        sent.unwrap_or_else(|error| Reply::Failed { why: error.to_string(), hopeless: false })
    }

    fn send(&self, call: &Call) -> Reply {
        let failed = |why: String| Reply::Failed { why, hopeless: false };
        let (code, body) = match self.exchange(call) {
            Ok(answer) => answer,
            Err(why) => return failed(why),
        };
        match (code, call) {
            (200..=299, _) => match serde_json::from_slice::<Told>(&body) {
                Ok(told) if is_plain(&told.id) => Reply::Told(told),
                Ok(_) => failed("its job has an id that no URL can hold".to_owned()),
                Err(error) => failed(format!("its answer makes no sense: {}", one_line(error))),
            },
            (401 | 403, _) => {
                let why = format!("it refuses the token ({code}): see endpoint.token");
                Reply::Failed { why, hopeless: true }
            }
            (404, Call::Run(_)) => {
                let why = "there is no such endpoint (404): see endpoint.url".to_owned();
                Reply::Failed { why, hopeless: true }
            }
            (404, _) => Reply::Trouble(Trouble::Forgotten),
            (405, Call::Status(_)) if !self.posts.swap(true, Ordering::Relaxed) => Reply::Again,
            (413, Call::Run(_)) => Reply::Trouble(Trouble::TooLarge),
            (429, _) => failed("it is asked too often (429)".to_owned()),
            _ => failed(format!("it answered {code}")),
        }
    }

    /// One request and its answer: status and body.
    fn exchange(&self, call: &Call) -> Result<(u16, Vec<u8>), String> {
        let url = format!("{}{}", self.url, call.path());
        let bearer = (!self.token.is_empty()).then(|| format!("Bearer {}", self.token));
        let posted = |body: &[u8]| {
            let request = self.agent.post(&url).content_type("application/json");
            match &bearer {
                Some(bearer) => request.header("authorization", bearer).send(body),
                None => request.send(body),
            }
        };
        let answer = match call {
            Call::Run(body) => posted(body),
            Call::Status(_) if !self.posts.load(Ordering::Relaxed) => match &bearer {
                Some(bearer) => self.agent.get(&url).header("authorization", bearer).call(),
                None => self.agent.get(&url).call(),
            },
            Call::Status(_) | Call::Cancel(_) => posted(b"{}"),
        };
        let mut answer = answer.map_err(|error| words(&error))?;
        let code = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_vec();
        Ok((code, body.map_err(|error| words(&error))?))
    }
}

/// Takes the next turn, at least `pace` after the one before; returns how long it is off.
fn reserve(next: &mut Instant, now: Instant, pace: Duration) -> Duration {
    let at = (*next).max(now);
    *next = at + pace;
    at - now
}

/// Whether an id can stand in a URL's path as it is.
fn is_plain(id: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=200).contains(&id.len()) && id.chars().all(plain) && !id.starts_with('.')
}

/// What went wrong, for people: some texts hold the whole URL.
fn words(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => "it did not answer in time".to_owned(),
        ureq::Error::Io(error) => format!("it can't be reached: {}", one_line(error)),
        ureq::Error::HostNotFound => "its host is not known".to_owned(),
        ureq::Error::ConnectionFailed => "nothing listens there".to_owned(),
        ureq::Error::BodyExceedsLimit(_) => "its answer is too large".to_owned(),
        _ => "it can't be asked".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use shared::{input::Input, script::Script, settings::Seconds};

    use super::*;
    use crate::health::known_job;

    fn endpoint() -> Endpoint {
        let settings = EndpointSettings {
            url: "https://api.example/v2/abc/".to_owned(),
            token: "s3cret".to_owned(),
            arch: Some(Arch::Cuda),
            slots: 1,
            requests_per_second: 2.0,
            request_timeout: Seconds(1.0),
            queue_timeout: Seconds(1000.0),
            failures: 5,
            cooldown: Seconds(1.0),
            max_request_mb: 1,
        };
        Endpoint::new(&settings, Arch::Cpu, Duration::from_secs(600))
    }

    fn job(script: Script) -> Job {
        Job { task: Task::Script(script), ..known_job(Arch::Cpu) }
    }

    #[test]
    fn it_suits_scripts_of_its_architecture_that_fit_into_a_request() {
        let endpoint = endpoint();
        assert_eq!((endpoint.host.as_str(), endpoint.queue.as_secs()), ("api.example", 600));
        assert!(!format!("{endpoint:?}").contains("s3cret"));
        let plain = || Script { name: "a.py".to_owned(), anywhere: true, ..Script::default() };
        assert!(endpoint.suits(&job(plain())));
        assert!(!endpoint.suits(&known_job(Arch::Cuda)), "no script");
        let bound = || Script { anywhere: false, ..plain() };
        assert!(!endpoint.suits(&job(bound())));
        assert!(endpoint.suits(&Job { arch: Arch::Cuda, ..job(bound()) }));
        let input = |size| Input { name: "x".to_owned(), blake3: String::new(), size };
        let with = |size| Script { inputs: vec![input(size)], ..plain() };
        assert!(endpoint.suits(&job(with(700_000))) && !endpoint.suits(&job(with(800_000))));
        assert!(!endpoint.suits(&job(with(u64::MAX))));
        endpoint.is_unsuited("a.py", "there is no such script");
        assert!(!endpoint.suits(&job(plain())));
        assert!(endpoint.suits(&job(Script { name: "b.py".to_owned(), ..plain() })));
    }

    #[test]
    fn requests_are_paced_and_time_that_passed_is_not_made_up_for() {
        let start = Instant::now();
        let pace = Duration::from_millis(500);
        let mut next = start;
        let mut at = |millis| reserve(&mut next, start + Duration::from_millis(millis), pace);
        let waits: Vec<u128> = [0, 0, 100, 5000, 5000].map(|ms| at(ms).as_millis()).into();
        assert_eq!(waits, [0, 500, 900, 0, 500]);
    }

    #[test]
    fn an_id_that_a_url_can_not_hold_is_none() {
        assert!(is_plain("test-1b9d_x.e1") && is_plain("sync-7"));
        for bad in ["", "a/b", "../x", "a?b", "a b", "ü", &"x".repeat(201)] {
            assert!(!is_plain(bad), "{bad}");
        }
    }
}
