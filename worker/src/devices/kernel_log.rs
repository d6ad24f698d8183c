//! What the kernel's log says of GPUs: resets, rings that time out, NVIDIA's Xids.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::OpenOptionsExt as _,
    time::Duration,
};

use super::{System, gpu::pci_address};

/// How many records one call reads at most.
const MOST: usize = 10_000;
/// A record of `/dev/kmsg` has at most 8 KiB.
const RECORD: usize = 8 * 1024;

/// What happened to a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TroubleKind {
    /// Its driver resets it.
    Reset,
    /// A ring of an AMD card does not get ahead: a reset follows, or should.
    RingTimeout,
    /// The card is gone: off the bus, or its driver could not bring it back.
    Lost,
    /// NVIDIA's driver reports an error of this number; 79 is a card off the bus.
    Xid(u32),
}

/// One line of the kernel's log about a GPU in trouble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What happened.
    pub kind: TroubleKind,
    /// The PCI address that the line names; older kernels name none for rings.
    pub pci: Option<String>,
    /// When, since the kernel's start; zero in a log without times.
    pub at: Duration,
    /// The line.
    pub line: String,
}

/// The kernel's log, read from somewhere on.
#[derive(Debug)]
pub struct KernelLog {
    file: File,
    /// What was read of a text file and is no whole line yet.
    rest: VecDeque<u8>,
}

impl KernelLog {
    /// From now on.
    ///
    /// # Errors
    /// What the system says; often users may not read it (`kernel.dmesg_restrict`).
    pub fn from_now(system: &System) -> io::Result<Self> {
        let mut log = Self::from_boot(system)?;
        log.file.seek(SeekFrom::End(0))?;
        Ok(log)
    }

    /// From the kernel's start on, as far as it still knows.
    ///
    /// # Errors
    /// As for [`KernelLog::from_now`].
    pub fn from_boot(system: &System) -> io::Result<Self> {
        let mut options = File::options();
        // Without it the end of the log would be waited for.
        options.read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
        let file = options.open(system.path("dev/kmsg"))?;
        Ok(Self { file, rest: VecDeque::new() })
    }

    /// What was written since the last call about GPUs in trouble, at most 10,000 records of all
    /// kinds. It does not block. Records that the kernel has forgotten meanwhile are passed over.
    #[must_use]
    pub fn news(&mut self) -> Vec<Trouble> {
        let mut news = Vec::new();
        let mut record = vec![0; RECORD];
        for _ in 0..MOST {
            match self.file.read(&mut record) {
                Ok(0) => break,
                Ok(count) => self.rest.extend(&record[..count]),
                // EPIPE: the oldest were overwritten, and the next read goes on after them.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => continue,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            }
            while let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                news.extend(trouble(&String::from_utf8_lossy(&line)));
            }
        }
        news
    }
}

/// What a line says: a record of `/dev/kmsg` (`6,1234,5678901,-;amdgpu …`), or a line of `dmesg`.
fn trouble(line: &str) -> Option<Trouble> {
    // What begins with a space describes the record before it.
    if line.starts_with(' ') {
        return None;
    }
    let (at, text) = times(line.trim_end());
    let amd = || text.contains("amdgpu");
    let kind = if let Some(number) = xid(text) {
        TroubleKind::Xid(number)
    } else if amd()
        && (text.contains("device lost from bus") || text.contains("GPU Recovery Failed"))
    {
        TroubleKind::Lost
    } else if amd() && text.contains("GPU reset begin") {
        TroubleKind::Reset
    } else if amd() && text.contains("ring ") && text.contains("timeout") {
        TroubleKind::RingTimeout
    } else {
        return None;
    };
    let words = text.split(|c: char| c.is_whitespace() || "()[],;".contains(c));
    // Drivers write `amdgpu 0000:03:00.0:` and `PCI:0000:01:00`.
    let pci = words
        .map(|word| word.trim_start_matches("PCI:").trim_end_matches(':'))
        .filter(|word| word.matches(':').count() == 2)
        .find_map(pci_address);
    Some(Trouble { kind, pci, at, line: text.to_owned() })
}

fn xid(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("NVRM: Xid (")?;
    let (_, rest) = rest.split_once("): ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// When a line was written, and what it says.
fn times(line: &str) -> (Duration, &str) {
    if let Some((head, text)) = line.split_once(';')
        && let Some(micros) = head.split(',').nth(2).and_then(|micros| micros.parse().ok())
    {
        return (Duration::from_micros(micros), text);
    }
    let dmesg = line.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let seconds = dmesg.and_then(|(head, text)| Some((head.trim().parse().ok()?, text.trim())));
    match seconds {
        Some((seconds, text)) => (Duration::try_from_secs_f64(seconds).unwrap_or_default(), text),
        None => (Duration::ZERO, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_several_kernels_are_understood() {
        let reset = "6,1234,98765432,-;amdgpu 0000:03:00.0: amdgpu: GPU reset begin!\n";
        let found = trouble(reset).unwrap();
        assert_eq!((found.kind, found.pci.as_deref()), (TroubleKind::Reset, Some("0000:03:00.0")));
        assert_eq!(found.at, Duration::from_micros(98_765_432));
        assert_eq!(found.line, "amdgpu 0000:03:00.0: amdgpu: GPU reset begin!");

        for (line, kind, pci) in [
            (
                "[  123.456789] [drm:amdgpu_job_timedout [amdgpu]] *ERROR* ring gfx_0.0.0 timeout, signaled seq=12, emitted seq=14",
                TroubleKind::RingTimeout,
                None,
            ),
            (
                "3,9,5,-;amdgpu 0000:0a:00.0: amdgpu: ring comp_1.0.0 timeout, signaled seq=1, emitted seq=3",
                TroubleKind::RingTimeout,
                Some("0000:0a:00.0"),
            ),
            (
                "[9.5] NVRM: Xid (PCI:0000:01:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
                TroubleKind::Xid(79),
                Some("0000:01:00.0"),
            ),
            (
                "4,77,8,-;NVRM: Xid (PCI:0000:41:00): 31, pid=4242, name=python, Ch 00000008, MMU Fault",
                TroubleKind::Xid(31),
                Some("0000:41:00.0"),
            ),
            (
                "3,9,5,-;amdgpu 0000:0a:00.0: amdgpu: device lost from bus!",
                TroubleKind::Lost,
                Some("0000:0a:00.0"),
            ),
        ] {
            let found = trouble(line).unwrap();
            assert_eq!((found.kind, found.pci.as_deref()), (kind, pci), "{line}");
        }
        for quiet in [
            "6,1,2,-;amdgpu 0000:03:00.0: amdgpu: GPU reset(2) succeeded!",
            " SUBSYSTEM=pci",
            "6,1,2,-;nvidia: loading out-of-tree module",
            "6,1,2,-;usb 1-1: reset timeout ring",
            "",
        ] {
            assert_eq!(trouble(quiet), None, "{quiet}");
        }
    }
}
