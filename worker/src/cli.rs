//! The command line.

use std::path::PathBuf;

use clap::Parser;

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
        3 the broker refuses or can't be reached.\n\n\
        Examples:\n  \
        worker                                       # embedded broker, a slot for each core\n  \
        worker --slots 2 --config /etc/rigqueue.toml # two slots that share the cores\n  \
        RIGQUEUE_BROKER=amqp://rig:secret@hub/ worker"
)]
pub struct Args {
    /// Settings file (TOML); RIGQUEUE_CONFIG unless given
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What jobs run on: cpu, cuda or rocm [default: worker.arch]
    #[arg(long, value_name = "ARCH")]
    pub arch: Option<String>,
    /// How many jobs run side by side, or `auto`: one for each core [default: worker.slots]
    #[arg(long, value_name = "N|auto")]
    pub slots: Option<String>,
    /// This node's name [default: worker.node, else the host's name]
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Take jobs without waiting for the fleet's state first (a run of one's own needs none)
    #[arg(long, hide = true)]
    pub eager: bool,
}

/// What is wrong with a command line, in one line.
#[must_use]
pub fn one_line(wrong: &clap::Error) -> String {
    let text = wrong.render().to_string();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let said: Vec<&str> = lines.take_while(|line| !line.starts_with("Usage:")).collect();
    format!("{} (see --help)", said.join("; "))
}
