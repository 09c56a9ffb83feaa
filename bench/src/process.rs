//! What the kernel says a process costs.

use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::time::ClockId;
use nix::unistd::Pid;

/// Of memory, on the machines this is built for.
const PAGE_BYTES: u64 = 4096;
/// The field of `/proc/PID/stat` with the resident pages (proc(5)), counted after the name, which is field 2.
const RESIDENT: usize = 24 - 3;

/// User and system time of a process so far. The same as fields 14 and 15 of `/proc/PID/stat`, but in nanoseconds and
/// not in hundredths of a second, so that idle sessions can be told from nothing.
pub fn cpu(pid: u32) -> Result<Duration> {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid.cast_signed()));
    let now = clock.and_then(ClockId::now).with_context(|| format!("process {pid} is gone"))?;
    Ok(now.into())
}

/// User and system time of this process so far.
pub fn own_cpu() -> Result<Duration> {
    cpu(std::process::id())
}

/// Resident memory of a process in bytes.
pub fn memory(pid: u32) -> Result<u64> {
    let text =
        std::fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} is gone"))?;
    let pages =
        text.rsplit_once(')').and_then(|(_, fields)| fields.split_whitespace().nth(RESIDENT)?.parse::<u64>().ok());
    Ok(pages.context("/proc/PID/stat has another form")? * PAGE_BYTES)
}

/// Allows this process and those it starts as many open files as the system lets us: each client has two.
pub fn open_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where it is refused, opening fails later and says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_in_the_clock_and_memory_in_the_resident_set() {
        let (before, resident) = (own_cpu().unwrap(), memory(std::process::id()).unwrap());
        let filled = vec![1_u8; 64 << 20];
        let sum: u64 = filled.iter().map(|byte| u64::from(*byte)).sum();
        assert_eq!(sum, 64 << 20);
        assert!(own_cpu().unwrap() > before);
        assert!(memory(std::process::id()).unwrap() >= resident + (32 << 20));
        assert!(cpu(u32::MAX >> 4).is_err());
    }
}
