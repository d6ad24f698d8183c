//! php_mt_seed (Openwall, `https://www.openwall.com/php_mt_seed/`), whose `x x 0 999` asks plan
//! D's question: three first outputs modulo 1000.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use shared::{families::Family, plans::Plan};

use crate::{Failed, ours::busy_of};

/// Seeds a second of processor time of the binary on one thread, over each of the first blocks of
/// its last flavour (PHP 5.2.1 and later, both variants of which it tests at once). The other
/// flavours come first and take most of a minute.
pub(crate) fn rates(path: &str, plan: &Plan, blocks: usize) -> Result<Vec<f64>, Failed> {
    let draws = plan.sieve(Family::Mt19937).draws;
    let group = |draw: &u32| [draw.to_string(), draw.to_string(), "0".into(), "999".into()];
    let mut child = Command::new(path)
        .args(draws.iter().flat_map(group))
        .env("OMP_NUM_THREADS", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{path}: {error}"))?;
    let schedstat = format!("/proc/{0}/task/{0}/schedstat", child.id());
    let measured = match child.stderr.take() {
        Some(stderr) => measure(BufReader::new(stderr), blocks, || busy_of(&schedstat)),
        None => Err("php_mt_seed has no stderr".into()),
    };
    child.kill()?;
    child.wait()?;
    measured
}

/// Seeds a second between notes of progress after the second flavour's name.
fn measure(
    said: impl BufRead,
    blocks: usize,
    busy: impl Fn() -> Result<f64, Failed>,
) -> Result<Vec<f64>, Failed> {
    let mut word = String::new();
    let (mut flavours, mut begun, mut rates) = (0, None, Vec::new());
    for byte in said.bytes() {
        let byte = char::from(byte?);
        if !byte.is_whitespace() {
            word.push(byte);
            continue;
        }
        let said = std::mem::take(&mut word);
        flavours += u32::from(said == "Version:");
        // Of "trying 0x00000000 - 0x0fffffff, speed" the first number alone parses.
        let from = said.strip_prefix("0x").filter(|_| flavours == 2);
        let Some(from) = from.and_then(|from| u32::from_str_radix(from, 16).ok()) else { continue };
        let now = (from, busy()?);
        if let Some((first, at)) = begun.replace(now) {
            rates.push(f64::from(from - first) / (now.1 - at));
        }
        if rates.len() == blocks {
            return Ok(rates);
        }
    }
    Err("php_mt_seed ended before it had done its blocks".into())
}
