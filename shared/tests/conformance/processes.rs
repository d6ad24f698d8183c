//! Other processes: this test's own executable, told by its environment what to play.

use std::{
    env,
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdout, Command, Stdio},
};

use super::{Site, connect, number, publish};

const ROLE: &str = "RIGQUEUE_TEST_ROLE";
const URL: &str = "RIGQUEUE_TEST_URL";
const SAYS: &str = "SAYS ";

/// Another process, killed when this is dropped.
pub(crate) struct Other {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Other {
    /// Starts one at a site, in a role of [`play`].
    pub(crate) fn start(site: &dyn Site, role: &str) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["other_process", "--exact", "--nocapture"])
            .env(ROLE, role)
            .env(URL, site.url())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Waits for the next thing it says.
    pub(crate) fn hears(&mut self) -> String {
        tokio::task::block_in_place(|| {
            self.lines
                .find_map(|line| line.unwrap().split_once(SAYS).map(|(_, said)| said.to_owned()))
                .expect("the other process ended")
        })
    }

    /// Kills it (SIGKILL), waits until it is gone, and returns what else it had said.
    pub(crate) fn kill(&mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        // A last word that was cut short was not said.
        let lines = self.lines.by_ref().map_while(Result::ok);
        lines.filter_map(|line| Some(line.split_once(SAYS)?.1.to_owned())).collect()
    }

    /// Lets it end by itself and waits for that.
    pub(crate) fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(tokio::task::block_in_place(|| self.child.wait()).unwrap().success());
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn say(what: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{SAYS}{what}").unwrap();
    out.flush().unwrap();
}

/// Plays the role that the environment names: `hold QUEUE COUNT` takes and never acknowledges,
/// `echo FROM TO` publishes what it gets, `publish QUEUE FIRST COUNT` one at a time, `drain QUEUE`
/// takes and acknowledges, saying each number, until its input ends.
pub(crate) fn play() {
    let Ok(role) = env::var(ROLE) else { return };
    let url = env::var(URL).unwrap();
    let words: Vec<&str> = role.split(' ').collect();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let broker = connect(&url, "other").await;
        let input_ends = tokio::task::spawn_blocking(|| std::io::stdin().lines().count());
        let work = async {
            match words[..] {
                ["hold", queue, count] => {
                    for _ in 0..count.parse().unwrap() {
                        assert!(broker.take(queue).await.unwrap().is_some());
                    }
                    say("holds");
                    std::future::pending::<()>().await;
                }
                ["echo", from, to] => {
                    let mut subscription = broker.subscribe(from, 10).await.unwrap();
                    say("listens");
                    loop {
                        for delivery in subscription.next(10).await.unwrap() {
                            broker.publish(to, delivery.message).await.unwrap();
                            broker.ack(vec![delivery.tag]).await.unwrap();
                        }
                    }
                }
                ["publish", queue, first, count] => {
                    let first: u32 = first.parse().unwrap();
                    for number in first..first + count.parse::<u32>().unwrap() {
                        publish(&*broker, queue, [number]).await;
                        say(&format!("published {number}"));
                    }
                    say("done");
                    std::future::pending::<()>().await;
                }
                ["drain", queue] => {
                    let mut subscription = broker.subscribe(queue, 10).await.unwrap();
                    say("listens");
                    loop {
                        for delivery in subscription.next(10).await.unwrap() {
                            broker.ack(vec![delivery.tag]).await.unwrap();
                            say(&number(&delivery.message).to_string());
                        }
                    }
                }
                _ => panic!("no role '{role}'"),
            }
        };
        tokio::select! {
            () = work => {}
            _ = input_ends => broker.close().await,
        }
    });
}
