//! Where RabbitMQ's programs are: this machine's own, or those in a folder that holds another
//! system's root (`.ci/rabbitmq4` makes one), which the environment variable names.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// Environment variable: the root folder whose RabbitMQ the tests are to use.
pub(crate) const ENV_ROOT: &str = "RIGQUEUE_TEST_RABBITMQ_ROOT";

/// Where Debian puts the scripts that start as whoever calls them.
pub(crate) const SCRIPTS: &str = "/usr/lib/rabbitmq/bin";

/// Runs a program in a root folder that sees this machine's processes, devices and temporary
/// files. In a mount namespace of its own: the mounts are gone with the program.
const ENTER: &str = r#"
root=$1 shared=$2
shift 2
mkdir -p "$root$shared"
mount --rbind "$shared" "$root$shared"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
exec chroot "$root" "$@"
"#;

/// RabbitMQ's programs.
#[derive(Debug, Clone)]
pub(crate) struct Installed {
    root: Option<PathBuf>,
}

impl Installed {
    /// Those that the environment names, else this machine's; `None` when they are not there.
    pub(crate) fn find() -> Option<Self> {
        let root = env::var_os(ENV_ROOT).filter(|root| !root.is_empty()).map(PathBuf::from);
        let top = root.as_deref().unwrap_or(Path::new("/"));
        let server = top.join(SCRIPTS.trim_start_matches('/')).join("rabbitmq-server");
        server.is_file().then_some(Self { root })
    }

    /// The version that the environment asked for, as the folder of the programs names it; `None`
    /// when it asked for none.
    pub(crate) fn asked_for(&self) -> Option<String> {
        let libraries = self.root.as_ref()?.join("usr/lib/rabbitmq/lib");
        let mut names = std::fs::read_dir(libraries).ok()?.filter_map(|entry| {
            entry.ok()?.file_name().to_str()?.strip_prefix("rabbitmq_server-").map(str::to_owned)
        });
        names.next()
    }

    /// The program and arguments that run a program of theirs.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> (String, Vec<String>) {
        let arguments = arguments.iter().map(ToString::to_string);
        let Some(root) = &self.root else { return (program.to_owned(), arguments.collect()) };
        let (root, shared) = (root.display().to_string(), env::temp_dir().display().to_string());
        let enter = ["--mount", "sh", "-eu", "-c", ENTER, "sh", &root, &shared, program];
        let enter = enter.map(str::to_owned).into_iter();
        ("/usr/bin/unshare".to_owned(), enter.chain(arguments).collect())
    }

    /// The same as a command with an empty environment.
    pub(crate) fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let (program, arguments) = self.run(program, arguments);
        let mut command = Command::new(program);
        command.args(arguments).env_clear();
        command
    }
}
