//! On which CPU a media thread runs.
//!
//! A thread that stays on its CPU finds its caches warm. But the scheduler can move a thread out of the way of another
//! one only while it is not pinned, so this is right where a CPU is ours alone, as the kubelet's static CPU manager
//! gives it to containers that ask for whole CPUs, and wrong on CPUs that are shared with whatever else runs there.

use std::io;

use clap::ValueEnum;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Which media threads keep to one CPU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Pinning {
    /// All, where this process has been given some of the machine's CPUs, and one for each thread.
    #[default]
    Auto,
    /// All, one after the other over the CPUs there are.
    Always,
    /// None: the scheduler decides.
    Never,
}

/// The CPU of each of `n_threads` threads; empty if they shall not be pinned.
///
/// `allowed` are the numbers of the CPUs this process may use, of `n_cpus` that the machine has.
pub fn choose(pinning: Pinning, allowed: &[usize], n_cpus: usize, n_threads: usize) -> Vec<usize> {
    let is_pinned = match pinning {
        Pinning::Auto => allowed.len() < n_cpus && n_threads <= allowed.len(),
        Pinning::Always => true,
        Pinning::Never => false,
    };
    if is_pinned { allowed.iter().copied().cycle().take(n_threads).collect() } else { Vec::new() }
}

/// As [`choose`], for this process on this machine.
///
/// # Errors
/// If the kernel does not say which CPUs there are.
pub fn plan(pinning: Pinning, n_threads: usize) -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    let allowed: Vec<usize> = (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect();
    Ok(choose(pinning, &allowed, online()?, n_threads))
}

/// CPUs of the machine, whoever may use them.
fn online() -> io::Result<usize> {
    let count = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN)?;
    count.and_then(|count| usize::try_from(count).ok()).ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// Keeps the calling thread on this CPU.
///
/// # Errors
/// If the kernel refuses.
pub fn pin(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    // 0 is the calling thread, not the process (sched_setaffinity(2)).
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_pinned_to_cpus_that_are_ours_alone() {
        assert_eq!(choose(Pinning::Auto, &[2, 3, 6], 8, 3), [2, 3, 6]);
        assert_eq!(choose(Pinning::Auto, &[2, 3, 6], 8, 2), [2, 3]);
    }

    #[test]
    fn threads_move_freely_on_cpus_that_others_use_too() {
        assert_eq!(choose(Pinning::Auto, &[0, 1], 2, 2), [0; 0], "the whole machine is not ours alone");
        assert_eq!(choose(Pinning::Auto, &[4], 8, 2), [0; 0], "two threads on one CPU gain nothing");
    }

    #[test]
    fn who_says_always_or_never_is_obeyed() {
        assert_eq!(choose(Pinning::Always, &[0, 1], 2, 3), [0, 1, 0]);
        assert_eq!(choose(Pinning::Never, &[2, 3], 8, 2), [0; 0]);
    }

    #[test]
    fn a_pinned_thread_may_use_one_cpu() {
        let cpus = plan(Pinning::Always, 1).unwrap();
        let allowed = std::thread::spawn(move || {
            pin(cpus[0]).unwrap();
            let set = sched_getaffinity(Pid::from_raw(0)).unwrap();
            (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(allowed.join().unwrap(), plan(Pinning::Always, 1).unwrap());
    }
}
