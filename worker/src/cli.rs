//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use shared::families::Family;

/// `worker`: see its help.
#[derive(Debug, Clone, Default, Parser)]
#[command(
    name = "worker",
    version,
    about = "Takes RigQueue jobs that this machine can start at once, and runs each in a process of its own",
    long_about = "Takes RigQueue jobs that this machine can start at once, and runs each in a process of its own.\n\n\
        The worker looks at its queues when a bell rings, when a slot frees, and every 10 s otherwise. \
        For each job it starts `runner-cpu` (for GPUs `runner-cuda` or `runner-opencl`), which \
        must lie beside this executable, publishes what became of the job, and acknowledges it \
        only when the broker has that on disk. \
        Killing the worker at any moment loses nothing: its runners end with it and its jobs come \
        back to the queue.",
    after_long_help = "Environment:\n  \
        RIGQUEUE_CONFIG  settings file, as --config\n  \
        RIGQUEUE_BROKER  embedded:, embedded:/path or amqp(s)://user:password@host/vhost\n  \
        RIGQUEUE_HOME    data folder (the embedded broker's unless its URL says otherwise)\n  \
        RIGQUEUE_LOG     what to log, as in info or worker=debug (info unless set)\n\n\
        Signals:\n  \
        SIGTERM, SIGINT  drain: take nothing more, ask runners to finish short, report, exit\n  \
        a second one     end runners at once, return their jobs, exit\n\n\
        Exit codes: 0 after SIGTERM, 130 after SIGINT, 1 a fault of ours, 2 bad settings or usage,\n\
        3 the broker refuses or can't be reached, 6 the cards' driver is there and does not work; of `worker bench` see its help.\n\n\
        Examples:\n  \
        worker                                       # embedded broker, a slot for each core\n  \
        worker --slots 2 --config /etc/rigqueue.toml # two slots that share the cores\n  \
        RIGQUEUE_BROKER=amqp://rig:secret@hub/ worker"
)]
pub struct Args {
    /// Settings file (TOML); RIGQUEUE_CONFIG unless given
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// What jobs run on: cpu, cuda or rocm [default: worker.arch]
    #[arg(long, value_name = "ARCH", global = true)]
    pub arch: Option<String>,
    /// How many jobs run side by side, or `auto`: one for each core, or each GPU [default: worker.slots]
    #[arg(long, value_name = "N|auto", global = true)]
    pub slots: Option<String>,
    /// This node's name [default: worker.node, else the host's name]
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Take jobs without waiting for the fleet's state first (a run of one's own needs none)
    #[arg(long, hide = true)]
    pub eager: bool,
    /// What to do instead of taking jobs
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What a worker does beside taking jobs.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Measure how fast a slot of this machine sieves, and keep the rates for plans
    #[command(
        long_about = "Measures how fast a slot of this machine sieves, and keeps the rates for plans.\n\n\
            One slot works at a time, with the threads that its jobs have, in the runner's own process \
            as a job would be (GPUs: the first one). The plans are the standard ones:\n  \
            A  30 draws, skips 0 to 20, threshold .25, .5 and 1 (A.25, A.5, A1), every family\n  \
            B  8 draws, offset 43, skips 0 to 16, threshold .25, every family\n  \
            C  lcg32, 512 draws, skips 0 to 20, threshold .01\n  \
            D  mt19937, 3 draws, skip 0, threshold 1\n  \
            E  java_lcg, all 2^48 seeds of A.25 by the structural engine (cpu alone)\n\n\
            seeds/s  seeds decided in a second of sieving, process starts and ends left out; of plan E \
            that is the effective rate, for its engine goes through no seed one by one\n\
            tests/s  seeds/s times skips times (draws - need + 1): a test compares one draw with one \
            output, and a skip without a match is hopeless after so many; what an engine looks at \
            beyond that does not count, and plan E has none\n\
            ceiling  seeds/s in percent of the model in section 4 of SIEVES.md, which is for one core \
            with AVX2 at 3 GHz (times the threads; AVX-512 can pass 100 %), for an RTX 3080 Ti (an \
            H200 where the driver names one) or an RX 6600; - where it has no figure\n\n\
            The rates are kept in rates.json in the data folder. A worker reads them when it starts and \
            tells them with its heartbeats, so that the first plan for a new node is right; \
            `producer run` reads them too. What jobs teach later counts for more.",
        after_long_help = "Exit codes: 0 done, 1 a figure could not be had, 2 bad settings or usage, or no such GPU, 6 the device, its\n\
            driver or its compiler is missing or has failed, 130 interrupted (figures so far are kept).\n\n\
            Examples:\n  \
            worker bench                                    # every family and plan, two minutes\n  \
            worker bench --family java_lcg --plan A --plan E\n  \
            worker bench --arch cuda --json"
    )]
    Bench(BenchArgs),
    /// Say what this machine, its settings and its broker lack, and what to do about it
    #[command(
        long_about = "Says what this machine, its settings and its broker lack, and what to do about it.\n\n\
            It looks at the settings, folders, limits, memory, GPUs, Python and the scripts, and at the broker: \
            version, acknowledgement timeout, exchanges and queues, and what the broker's user may do. It \
            changes nothing, takes no message and touches no GPU runtime. `unverified` is what can't be \
            seen from here.",
        after_long_help = "Exit codes: 0 nothing has failed, else that of the first failure: 2 the settings or this machine\n\
            must be changed, 3 the broker can't be reached, 6 a device is missing or bad.\n\n\
            Examples:\n  \
            worker doctor\n  \
            worker doctor --arch rocm --config /etc/rigqueue/rigqueue.toml\n  \
            worker doctor --json | jq '.[] | select(.state == \"failed\")'"
    )]
    Doctor(DoctorArgs),
    /// End what workers that were killed left behind on this host
    #[command(
        long_about = "Ends what workers that were killed left behind on this host, and says what it was.\n\n\
            Every process that a worker starts carries its mark in the environment (RIGQUEUE_WORKER), and \
            every worker holds a lock in the runtime folder for its life. Ended are this user's processes \
            whose mark names a worker whose lock is free: TERM, then KILL after a second. Nothing else is \
            touched: no process without a mark, none of a worker that lives, none that this command \
            descends from. A worker does the same when it starts.",
        after_long_help = "Exit codes: 0 nothing is left (or --dry-run), 1 a process won't end, 2 bad usage.\n\n\
            Examples:\n  \
            worker cleanup --dry-run   # only say what would be ended\n  \
            worker cleanup --json"
    )]
    Cleanup(CleanupArgs),
    /// Show the GPUs and the processor of this machine, and how they are
    #[command(
        long_about = "Shows the GPUs and the processor of this machine, and how they are.\n\n\
            NVIDIA's cards are asked for through their driver's library (by a subprocess), AMD's read from \
            the kernel's files; no GPU is put to work. What takes no jobs, and why, is said on stderr: \
            graphics inside a processor, cards without a compute driver, and GFXOFF where it is on.\n\n\
            arch    what code is compiled for: gfx1032, sm_86; of the processor its instruction set\n\
            health  good; hot: at 5 degrees below the driver's limit or above; unreadable: its files or \
            its library fail or do not answer; lost: gone from the bus",
        after_long_help = "Exit codes: 0 done, 6 a driver is there and does not work.\n\n\
            Examples:\n  \
            worker probe\n  \
            worker probe --json | jq '.[] | select(.health != \"good\")'"
    )]
    Probe(ProbeArgs),
    /// Ask NVIDIA's library, as JSON: for the worker itself
    #[command(name = "__nvml", hide = true)]
    Nvml,
}

/// `worker probe`: see its help.
#[derive(Debug, Clone, Parser)]
pub struct ProbeArgs {
    /// One JSON array on stdout
    #[arg(long)]
    pub json: bool,
}

/// `worker doctor`: see its help.
#[derive(Debug, Clone, Parser)]
pub struct DoctorArgs {
    /// One JSON array on stdout: check, state (ok, warning, unverified, failed), found, advice
    #[arg(long)]
    pub json: bool,
}

/// `worker cleanup`: see its help.
#[derive(Debug, Clone, Parser)]
pub struct CleanupArgs {
    /// Only say what would be ended
    #[arg(long)]
    pub dry_run: bool,
    /// One JSON array on stdout
    #[arg(long)]
    pub json: bool,
}

/// `worker bench`: see its help.
#[derive(Debug, Clone, Parser)]
pub struct BenchArgs {
    /// A family to measure; may be given again [default: all]
    #[arg(long, value_name = "F")]
    pub family: Vec<Family>,
    /// A plan to measure: A, B, C, D or E, or A.25, A.5, A1; may be given again [default: all]
    #[arg(long, value_name = "PLAN")]
    pub plan: Vec<String>,
    /// Seconds of sieving for each figure, .05 to 60
    #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = seconds)]
    pub seconds: f64,
    /// One JSON object on stdout, at the end
    #[arg(long)]
    pub json: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "it must be a number of seconds".to_owned())?;
    let fits = (0.05..=60.0).contains(&seconds);
    fits.then_some(seconds).ok_or_else(|| "it must be .05 to 60 seconds".to_owned())
}

/// What is wrong with a command line, in one line.
#[must_use]
pub fn one_line(wrong: &clap::Error) -> String {
    let text = wrong.render().to_string();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let said: Vec<&str> = lines.take_while(|line| !line.starts_with("Usage:")).collect();
    format!("{} (see --help)", said.join("; "))
}
