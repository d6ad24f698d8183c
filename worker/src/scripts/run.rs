//! One attempt at a script job: find it, give it a folder, start it, watch it, look at what it
//! left.

use std::{
    convert::Infallible,
    env,
    ffi::OsString,
    future::pending,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use shared::{
    job::{Arch, Job},
    outcome::{Failure, Return, Verdict},
    runner::ENV_RUNNER,
    script::{OUTPUT, Script},
};
use tokio::{
    sync::{Notify, watch},
    task::spawn_blocking,
    time::{self, sleep_until},
};

use super::{
    attempt::{self as folders, Attempts},
    find, inputs,
    judge::{End, judge},
    output::{self, Fault, Found},
    supply::Supply,
    text::Text,
};
use crate::{
    child::{Order, Orders},
    endpoint,
    job::{self, Bench, Taken, failed, returned},
    lease::Lease,
    slots::{Slot, runner_of},
    spawn::{Start, Ties},
    staging::Staging,
};

/// What libraries are told of the cores that a script may use, unless its environment says it.
const THREADS: [&str; 4] =
    ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"];

/// What every script of this worker has in common.
#[derive(Debug)]
pub struct Scripts {
    /// The only folders that scripts are run from.
    pub folders: Vec<PathBuf>,
    /// The interpreter.
    pub python: String,
    /// Where attempts work; none on a node that runs no scripts.
    pub attempts: Option<Attempts>,
    /// Where inputs are found.
    pub supply: Arc<Supply>,
    /// What is on the ramdisk.
    pub staging: Arc<Staging>,
    /// Told when an attempt has finished with files.
    pub finished: Arc<Notify>,
    /// How long a script goes on when the worker drains.
    pub drain: Duration,
}

impl Scripts {
    /// Those of a worker that runs none.
    #[must_use]
    pub fn none() -> Self {
        let supply = Arc::new(Supply::of(Path::new(""), 0, None));
        Self {
            folders: Vec::new(),
            python: String::new(),
            attempts: None,
            staging: Arc::new(Staging::new("", false, Arc::clone(&supply))),
            supply,
            finished: Arc::default(),
            drain: Duration::ZERO,
        }
    }
}

/// Runs a script in a subprocess and a folder of its own; says what became of it, how many seconds
/// it ran, and the most memory that it used, in bytes, where that was measured.
pub async fn attempt(
    bench: &Bench,
    slot: &Slot,
    (taken, script): (&Taken, &Script),
    lease: Option<Arc<Lease>>,
    orders: Orders,
) -> (Verdict, f64, Option<u64>) {
    let scripts = &bench.scripts;
    let found = match &slot.endpoint {
        // Whether it is there is for the endpoint to say.
        Some(_) => Ok(Default::default()),
        None => find::script(&scripts.folders, &script.name)
            .and_then(|path| Ok((find::python(&scripts.python)?, path))),
    };
    let (python, path) = match found {
        Ok(found) => found,
        Err(error) => return (returned(Return::NeverFits, error.to_string()), 0.0, None),
    };
    let attempts = scripts.attempts.as_ref().ok_or_else(|| io::Error::other("it has no place"));
    let folder = match attempts.and_then(|attempts| attempts.begin(script.output.as_deref())) {
        Ok(folder) => folder,
        Err(error) => {
            let detail = format!("a folder for the attempt could not be made: {error}");
            return (failed(Failure::SpawnFailed, detail, String::new()), 0.0, None);
        }
    };
    let (supply, staging) = (Arc::clone(&scripts.supply), Arc::clone(&scripts.staging));
    let (script_of, into) = (script.clone(), folder.clone());
    let placed =
        spawn_blocking(move || inputs::place((&supply, &staging), &script_of, &into)).await;
    // The staged set stays as long as the script may use it.
    let placed = match placed.map_err(io::Error::other) {
        Ok(Ok(placed)) => placed,
        Ok(Err(error)) => {
            discard(folder).await;
            return (failed(Failure::InputMissing, error.to_string(), String::new()), 0.0, None);
        }
        Err(error) => {
            let detail = format!("its inputs could not be looked at: {error}");
            return (failed(Failure::SpawnFailed, detail, String::new()), 0.0, None);
        }
    };
    let (job, run) = (&taken.job.id, &taken.job.run);
    tracing::debug!(run, job, folder = %folder.display(), "a script starts");
    let began = Instant::now();
    let ran = if let Some(endpoint) = &slot.endpoint {
        let place = (folder.as_path(), &placed.paths[..]);
        let ran = endpoint::attempt(endpoint, (taken, script), place, orders, scripts.drain).await;
        ran.map(|verdict| (verdict, None))
    } else {
        let start = start_of(slot, taken, script, (&python, &path, &folder), &placed.paths);
        let ties = job::ties(slot, &taken.job, lease, true);
        in_folder(bench, (taken, script), (start, ties), &folder, orders).await
    };
    let (verdict, peak_bytes) = match ran {
        Ok(ran) => ran,
        Err(error) => {
            let detail = format!("{} could not be started: {error}", python.display());
            (failed(Failure::SpawnFailed, detail, String::new()), None)
        }
    };
    let seconds = began.elapsed().as_secs_f64();
    let awaited = matches!(&verdict, Verdict::Finished(result) if !result.files.is_empty());
    if awaited {
        scripts.finished.notify_one();
    } else {
        discard(folder).await;
    }
    (verdict, seconds, peak_bytes)
}

async fn discard(folder: PathBuf) {
    if let Err(error) = spawn_blocking(move || folders::discard(&folder)).await {
        tracing::warn!(%error, "an attempt's folder was not deleted");
    }
}

/// Starts the script, watches it and looks at what it left in its folder.
async fn in_folder(
    bench: &Bench,
    (taken, script): (&Taken, &Script),
    (start, ties): (Start, Ties),
    folder: &Path,
    orders: Orders,
) -> io::Result<(Verdict, Option<u64>)> {
    let (told, orders_of_script) = watch::channel(None);
    // A script says nothing of its progress.
    let said = (Text::default(), Duration::MAX);
    let parts = (start, ties);
    let watched = job::watched(bench, &taken.job, parts, said, orders_of_script, |_| {});
    let ending = tokio::select! {
        ending = watched => ending?,
        never = pass_on(orders, told, bench.scripts.drain) => match never {},
    };
    let exited_well = ending.status.code() == Some(0);
    let output = match script.output.clone().filter(|_| exited_well) {
        None => None,
        Some(name) => {
            let (folder, job) = (folder.to_owned(), taken.job.clone());
            let looked = spawn_blocking(move || look(&folder, &job, &name));
            Some(looked.await.map_err(io::Error::other)?)
        }
    };
    let (line, stderr) = (ending.stdout.last_line(), ending.stderr.text());
    let end = End { status: ending.status, ended: ending.ended, line, stderr, output };
    Ok((judge(script.index, end), ending.peak_bytes))
}

/// Looks at the output `name` that a job's script had to write into its attempt's folder, and marks
/// the folder as one whose outputs somebody will come for.
pub(crate) fn look(folder: &Path, job: &Job, name: &str) -> Result<Found, Fault> {
    let found = output::look(folder, name)?;
    folders::mark(folder, &job.run, &job.id, job.seq).map_err(|error| {
        (Failure::SpawnFailed, format!("its outputs could not be put on disk: {error}"))
    })?;
    Ok(found)
}

/// Passes orders on as scripts are to hear them: a paused run's go on to their end, and a draining
/// worker's for a while.
pub(crate) async fn pass_on(
    mut orders: Orders,
    told: watch::Sender<Option<Order>>,
    drain: Duration,
) -> Infallible {
    let mut patience = None;
    loop {
        let order = *orders.borrow_and_update();
        match order {
            None | Some(Order::Finish(Return::Paused)) => {}
            Some(Order::Finish(Return::Drain)) => {
                patience.get_or_insert_with(|| time::Instant::now() + drain);
            }
            Some(_) => {
                told.send_replace(order);
            }
        }
        let run_out = async {
            match patience {
                Some(until) => sleep_until(until).await,
                None => pending().await,
            }
        };
        tokio::select! {
            changed = orders.changed() => if changed.is_err() {
                // Whoever gives orders is gone; the child is watched to its end.
                return pending().await;
            },
            () = run_out => {
                told.send_replace(Some(Order::Finish(Return::Drain)));
                patience = None;
                if orders.changed().await.is_err() {
                    return pending().await;
                }
            }
        }
    }
}

/// What is started: interpreter, script, arguments; in the attempt's folder.
fn start_of(
    slot: &Slot,
    taken: &Taken,
    script: &Script,
    (python, path, folder): (&Path, &Path, &Path),
    inputs: &[(String, PathBuf)],
) -> Start {
    let output = script.output.as_ref().map(|name| folder.join(name));
    let mut args: Vec<OsString> = vec![path.into()];
    args.extend(script.args.iter().map(|arg| {
        let arg = argument(script, arg, output.as_deref());
        let put = |arg: String, (name, path): &(String, PathBuf)| {
            arg.replace(name, &path.to_string_lossy())
        };
        inputs.iter().fold(arg, put).into()
    }));
    let job = &taken.job;
    let mut set: Vec<(String, String)> = slot.env.to_vec();
    let mut own = vec![
        // What it says is heard at once, and nothing is written beside the scripts.
        ("PYTHONUNBUFFERED", "1".to_owned()),
        ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
        ("RIGQUEUE_RUN", job.run.clone()),
        ("RIGQUEUE_JOB", job.id.clone()),
        ("RIGQUEUE_ATTEMPT", job.attempt.to_string()),
        (ENV_RUNNER, slot.runner.with_file_name(runner_of(Arch::Cpu)).display().to_string()),
    ];
    if let Some(output) = output.as_ref().and_then(|path| path.to_str()) {
        own.push(("RIGQUEUE_OUTPUT", output.to_owned()));
    }
    if slot.arch == Arch::Cpu {
        let threads = |name: &&&str| env::var_os(name).is_none();
        let threads = THREADS.iter().filter(threads);
        own.extend(threads.map(|name| (*name, slot.device.threads.to_string())));
    }
    for (name, value) in own {
        if !set.iter().any(|(known, _)| known == name) {
            set.push((name.to_owned(), value));
        }
    }
    Start {
        program: python.to_owned(),
        args,
        env: set.into(),
        input: Arc::default(),
        folder: Some(folder.to_owned()),
    }
}

/// An argument with the attempt's own path in place of the output's: [`OUTPUT`] wherever it
/// stands, the declared path where it is the whole argument or all of it after a `=`.
fn argument(script: &Script, arg: &str, output: Option<&Path>) -> String {
    let Some(output) = output.and_then(Path::to_str) else { return arg.to_owned() };
    let declared = script.declared.as_ref().or(script.output.as_ref());
    match (declared, arg.split_once('=')) {
        (Some(declared), _) if arg == declared => output.to_owned(),
        (Some(declared), Some((flag, value))) if value == declared => format!("{flag}={output}"),
        _ => arg.replace(OUTPUT, output),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_writes_to_a_place_of_its_own() {
        let script = Script {
            name: "a.py".to_owned(),
            output: Some("t/1.json".to_owned()),
            declared: Some("/out/t/1.json".to_owned()),
            anywhere: true,
            ..Script::default()
        };
        let own = Path::new("/attempt/t/1.json");
        for (arg, expected) in [
            ("/out/t/1.json", "/attempt/t/1.json"),
            ("--out=/out/t/1.json", "--out=/attempt/t/1.json"),
            ("--out={output}", "--out=/attempt/t/1.json"),
            ("{output}.meta", "/attempt/t/1.json.meta"),
            ("/out/t/1.json.bak", "/out/t/1.json.bak"),
            ("t/1.json", "t/1.json"),
        ] {
            assert_eq!(argument(&script, arg, Some(own)), expected);
        }
        assert_eq!(argument(&script, "{output}", None), "{output}");
    }

    #[tokio::test]
    async fn scripts_hear_of_the_end_alone() {
        let (tell, orders) = watch::channel(None);
        let (told, mut heard) = watch::channel(None);
        let drain = Duration::from_millis(20);
        let passing = tokio::spawn(pass_on(orders, told, drain));
        tell.send_replace(Some(Order::Finish(Return::Paused)));
        tell.send_replace(Some(Order::Finish(Return::Drain)));
        heard.changed().await.unwrap();
        assert_eq!(*heard.borrow_and_update(), Some(Order::Finish(Return::Drain)));
        tell.send_replace(Some(Order::Kill));
        heard.changed().await.unwrap();
        assert_eq!(*heard.borrow_and_update(), Some(Order::Kill));
        passing.abort();
    }
}
