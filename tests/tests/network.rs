//! Hosts of their own, in network namespaces: a broker's and three rigs'. One rig is cut off, one
//! has a slow line, and the run ends exact all the same.

use std::{
    fs::File,
    io,
    net::{TcpListener, TcpStream},
    os::fd::AsFd as _,
    process::{self, Command},
    thread,
    time::Instant,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tests::{
    exact::{LONG, SHORT},
    rabbitmq::{Options, RabbitNode, unless_absent},
    rig::{Part, Rig},
};

/// Where the broker is reached from the rigs. Both ends of each line are ours alone.
const BROKER: &str = "10.77.0.1:5672";

/// The rigs' namespaces, and the lines to them; gone with the test.
struct Hosts {
    /// The broker's namespace: this thread's.
    home: File,
    broker: String,
    rigs: Vec<String>,
}

/// Runs `ip` or `tc`; why not, when it fails.
fn run(line: &str) -> Result<(), String> {
    let mut words = line.split_whitespace();
    let program = words.next().unwrap_or_default();
    let done = Command::new(program).args(words).output().map_err(|error| error.to_string())?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!("`{line}`: {}", String::from_utf8_lossy(&done.stderr).trim()))
}

impl Hosts {
    /// Takes this thread, and what it starts, into a namespace of its own with a bridge and a
    /// line to each of three others.
    fn set_up() -> Result<Self, String> {
        let broker = format!("rigqueue-{}-0", process::id());
        run(&format!("ip netns add {broker}"))?;
        let home = File::open(format!("/run/netns/{broker}")).map_err(|error| error.to_string())?;
        enter(&home);
        let mut hosts = Self { home, broker, rigs: Vec::new() };
        run("ip link set lo up")?;
        run("ip link add br0 type bridge")?;
        run("ip addr add 10.77.0.1/24 dev br0")?;
        run("ip link set br0 up")?;
        for number in 1..=3 {
            let name = format!("rigqueue-{}-{number}", process::id());
            run(&format!("ip netns add {name}"))?;
            hosts.rigs.push(name.clone());
            run(&format!("ip link add line{number} type veth peer name eth0 netns {name}"))?;
            run(&format!("ip link set line{number} master br0 up"))?;
            run(&format!("ip -n {name} addr add 10.77.0.1{number}/24 dev eth0"))?;
            run(&format!("ip -n {name} link set eth0 up"))?;
            run(&format!("ip -n {name} link set lo up"))?;
        }
        Ok(hosts)
    }

    /// Starts a worker on a rig.
    fn spawn_worker(&self, rig: &Rig, number: usize) -> Part {
        let there = File::open(format!("/run/netns/{}", self.rigs[number])).expect("a namespace");
        let url = rig.url();
        let (_, place) = url.rsplit_once('@').expect("a host");
        let (_, vhost) = place.split_once('/').expect("a vhost");
        let (user, _) = url.rsplit_once('@').expect("a user");
        // A line that is cut is noticed within some seconds.
        let url = format!("{user}@{BROKER}/{vhost}?heartbeat=3");
        enter(&there);
        let part = rig.with_env(&[("RIGQUEUE_BROKER", &url)], |rig| rig.spawn_worker(1));
        enter(&self.home);
        part
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in self.rigs.iter().chain([&self.broker]) {
            // The lines go with them.
            run(&format!("ip netns delete {name}")).ok();
        }
    }
}

fn enter(namespace: &File) {
    let kind = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(namespace.as_fd(), kind).expect("a namespace of ours");
}

/// Passes on what the rigs send to the broker's loopback address, where it listens.
fn relay(port: u16) {
    let listener = TcpListener::bind(BROKER).expect("the broker's address");
    thread::spawn(move || {
        for rig in listener.incoming().filter_map(Result::ok) {
            let Ok(broker) = TcpStream::connect(("127.0.0.1", port)) else { continue };
            let copies = (rig.try_clone().and_then(|r| broker.try_clone().map(|b| (r, b)))).ok();
            let Some((mut rig_out, mut broker_out)) = copies else { continue };
            let (mut rig_in, mut broker_in) = (rig, broker);
            thread::spawn(move || {
                io::copy(&mut rig_in, &mut broker_out).ok();
                broker_out.shutdown(std::net::Shutdown::Both).ok();
            });
            thread::spawn(move || {
                io::copy(&mut broker_in, &mut rig_out).ok();
                rig_out.shutdown(std::net::Shutdown::Both).ok();
            });
        }
    });
}

#[test]
fn a_rig_that_is_cut_off_and_one_with_a_slow_line_lose_nothing() {
    let hosts = match Hosts::set_up() {
        Ok(hosts) => hosts,
        Err(why) => {
            return println!("skipped: no network namespaces here (as root there are): {why}");
        }
    };
    let Some(node) = unless_absent(RabbitNode::start(&Options::default())) else { return };
    let node: &'static RabbitNode = Box::leak(Box::new(node));
    relay(node.port());
    let rig = Rig::on(node);
    rig.spawn_aggregator();
    let workers: Vec<Part> = (0..3).map(|number| hosts.spawn_worker(&rig, number)).collect();
    if let Err(why) = run("tc qdisc add dev line2 root netem delay 100ms") {
        println!("no slow line: {why}");
    }
    // Enough of them that all rigs are still busy when one is cut off.
    let waiting: Vec<_> = (1..=4).map(|number| LONG.enqueue(&rig, &format!("r{number}"))).collect();
    rig.until("a worker that will be cut off to hold a job", || {
        let nodes = rig.producer(&["node", "list", "--json"]).ok().json();
        let nodes = nodes.as_array().cloned().unwrap_or_default();
        (nodes.len() == 3 && nodes.iter().all(|node| node["running"] == 1)).then_some(())
    });
    run("ip link set line1 down").expect("a cut");
    let cut = Instant::now();
    for run in waiting {
        LONG.finish(&rig, run);
    }
    println!("the runs were whole {:.1} s after the cut", cut.elapsed().as_secs_f64());
    rig.until("the rig to notice", || rig.log(workers[0]).contains("is lost").then_some(()));
    run("ip link set line1 up").expect("a line");
    rig.until("the rig to be back", || rig.log(workers[0]).contains("is back").then_some(()));
    let again = SHORT.enqueue(&rig, "again");
    SHORT.finish(&rig, again);
    rig.until_empty();
    rig.end_services();
}
