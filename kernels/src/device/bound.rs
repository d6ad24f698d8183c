//! Whether a runner sees the one device that its worker gave it, and no other.

use std::env;

use shared::runner::ENV_DEVICE;

use super::driver::Fault;

/// A device as its driver shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its name.
    pub name: String,
    /// Its UUID and its PCI address, as far as the driver tells; an address may lack its domain.
    pub ids: Vec<String>,
}

/// The device that this process was given, as its UUID or its PCI address; `None` where nobody
/// chose one.
#[must_use]
pub fn given() -> Option<String> {
    env::var(ENV_DEVICE).ok().map(|given| given.trim().to_owned()).filter(|given| !given.is_empty())
}

/// Finds the given device among those that the driver shows, and refuses what is not exactly that
/// one. The same card may be shown twice, by two drivers; where the only one shown has no name to
/// compare, the binding is believed. Returns its place.
///
/// # Errors
/// [`Fault::lost`] when nothing is shown: the card is gone. [`Fault::missing`] when something else
/// is: this node binds wrongly, and no card is to blame.
pub fn find(given: &str, seen: &[Seen]) -> Result<usize, Fault> {
    let Some(first) = seen.first() else {
        return Err(Fault::lost(format!("the device {given} is not shown any more: it is lost")));
    };
    let is_it = |seen: &Seen| seen.ids.iter().any(|id| same(given, id));
    let comparable = |seen: &Seen| seen.ids.iter().any(|id| is_address(id) == is_address(given));
    match seen {
        all if all.iter().all(is_it) => Ok(0),
        [only] if !comparable(only) => Ok(0),
        [_] => Err(Fault::missing(format!(
            "this job was given the device {given}, but sees '{}' ({}): has a card been moved or lost? \
             restart the worker",
            first.name,
            first.ids.join(", ")
        ))),
        all => Err(Fault::missing(format!(
            "this job was given the device {given}, but sees {} devices ({}): the driver does not \
             follow CUDA_VISIBLE_DEVICES or ROCR_VISIBLE_DEVICES",
            all.len(),
            all.iter().map(|seen| seen.name.as_str()).collect::<Vec<_>>().join(", ")
        ))),
    }
}

fn is_address(id: &str) -> bool {
    id.contains(':')
}

/// Whether two names mean one device: `0a:00.0` is `0000:0a:00.0`.
fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.to_ascii_lowercase(), other.to_ascii_lowercase());
    let ends = |long: &str, short: &str| {
        is_address(short) && long.strip_suffix(short).is_some_and(|domain| domain.ends_with(':'))
    };
    one == other || ends(&one, &other) || ends(&other, &one)
}

#[cfg(test)]
mod tests {
    use shared::outcome::Failure;

    use super::*;

    fn seen(ids: &[&str]) -> Seen {
        Seen { name: "a card".to_owned(), ids: ids.iter().map(|&id| id.to_owned()).collect() }
    }

    #[test]
    fn exactly_the_given_device_is_accepted() {
        let whole = seen(&["GPU-00ab", "0000:0A:00.0"]);
        for given in ["GPU-00AB", "0000:0a:00.0", "0a:00.0"] {
            assert_eq!(find(given, std::slice::from_ref(&whole)), Ok(0));
        }
        let short = seen(&["0a:00.0"]);
        assert_eq!(find("0000:0a:00.0", std::slice::from_ref(&short)), Ok(0));
        assert_eq!(find("0000:0a:00.0", &[short, whole]), Ok(0), "shown by two drivers");
        assert_eq!(find("0000:0a:00.0", &[seen(&[])]), Ok(0), "nothing to compare");
        assert_eq!(find("0000:0a:00.0", &[seen(&["GPU-00ab"])]), Ok(0), "nothing to compare");
    }

    #[test]
    fn nothing_is_a_lost_device_and_another_is_the_nodes_fault() {
        let given = "0000:0a:00.0";
        let fault = |seen: &[Seen]| find(given, seen).unwrap_err();
        assert_eq!(fault(&[]).failure, Failure::DeviceLost);
        for wrong in [
            vec![seen(&["0000:0b:00.0"])],
            vec![seen(&["0b:00.0"])],
            vec![seen(&["10000:0a:00.0"])],
            vec![seen(&["0000:0a:00.0"]), seen(&["0000:0b:00.0"])],
            vec![seen(&[]), seen(&[])],
        ] {
            let fault = fault(&wrong);
            assert_eq!(fault.failure, Failure::SpawnFailed, "{wrong:?}");
            assert!(fault.detail.contains(given) && fault.detail.contains("a card"), "{fault}");
        }
        assert_eq!(find("GPU-1", &[seen(&["GPU-12"])]).unwrap_err().failure, Failure::SpawnFailed);
    }
}
