//! Processes that outlive the command which started them.
//!
//! Each has a record on disk: its process id, when it started and what it was started with. A record whose process is
//! gone, or whose id now belongs to somebody else, is a process that does not run: nobody else's is ever ended.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use aws_lc_rs::digest::{SHA256, digest};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::binaries::hexadecimal;
use crate::command::{describe, tail_of};

/// How long a process has to end by itself before it is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often conditions are looked at while waiting.
const POLL: Duration = Duration::from_millis(50);

/// Clock ticks a second in `/proc` on Linux.
const TICKS: u64 = 100;
/// Becomes its arguments in a session of their own, without the files that whoever called us left open: a lock held by a
/// shell around this command would otherwise be held for as long as the process lives. Shells number them from 3 to 9.
const DETACH: &str = r#"exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-; exec setsid "$@""#;

/// All processes of the cluster, by name.
#[derive(Clone, Debug)]
pub struct Processes {
    records: PathBuf,
    logs: PathBuf,
}

/// Whether a process was there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// It ran already, started with the same arguments and files.
    Before,
    /// It was started, or started anew.
    Now,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    pid: i32,
    /// Clock ticks after boot at which it started: tells it from a later process of the same id.
    start_time: u64,
    /// Tells this boot's ticks from another's.
    boot_id: String,
    /// Of the command line and the files it was started with.
    fingerprint: String,
}

impl Processes {
    /// The processes whose records and logs lie below `folder`.
    pub fn new(folder: &Path) -> Self {
        Self { records: folder.join("processes"), logs: folder.join("logs") }
    }

    /// Sees to it that the process runs, started with this command and with files of this content.
    ///
    /// It is started in a session of its own, so that it outlives this command and its terminal. The program must stay
    /// the process that is started (`nsenter`, `unshare` and `setsid` do: they become what they run).
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn ensure(&self, name: &str, command: &Command, files: &[&str]) -> Result<Started> {
        let fingerprint = fingerprint(command, files);
        if let Some(record) = self.running(name) {
            if record.fingerprint == fingerprint {
                return Ok(Started::Before);
            }
            self.stop(name)?;
        }
        self.start(name, command, fingerprint)?;
        Ok(Started::Now)
    }

    /// The id of the process, if it runs.
    pub fn pid(&self, name: &str) -> Option<i32> {
        self.running(name).map(|record| record.pid)
    }

    /// The names of all processes there are records of, whether they run or not.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.records).into_iter().flatten().filter_map(Result::ok);
        let mut names: Vec<String> =
            entries.filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned())).collect();
        names.sort();
        names
    }

    /// Where the process writes.
    pub fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// Waits until `is_ready`; the processes called `names` must live on meanwhile.
    ///
    /// # Errors
    /// When one of them ends or the limit passes: the message names the log and repeats its end.
    pub fn wait(&self, names: &[&str], what: &str, limit: Duration, mut is_ready: impl FnMut() -> bool) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !is_ready() {
            if let Some(dead) = names.iter().find(|name| self.pid(name).is_none()) {
                let log = self.log(dead);
                bail!("{dead} ended; its log is {} and ends with\n{}", log.display(), tail_of(&log));
            }
            if Instant::now() > deadline {
                let logs: Vec<String> = names
                    .iter()
                    .map(|name| format!("{} ends with\n{}", self.log(name).display(), tail_of(&self.log(name))))
                    .collect();
                bail!("{what}: not within {} s\n{}", limit.as_secs(), logs.join("\n"));
            }
            sleep(POLL);
        }
        Ok(())
    }

    /// Ends the process if it runs, politely first, and forgets it.
    pub fn stop(&self, name: &str) -> Result<()> {
        if let Some(record) = self.running(name) {
            signal(record.pid, Signal::TERM);
            wait_for(PATIENCE, || self.running(name).is_none());
        }
        self.kill(name)
    }

    /// Kills the process if it runs and forgets it: for what nobody needs any more.
    pub fn kill(&self, name: &str) -> Result<()> {
        if let Some(record) = self.running(name) {
            let pid = record.pid;
            signal(pid, Signal::KILL);
            if !wait_for(PATIENCE, || self.running(name).is_none()) {
                bail!("{name} (process {pid}) does not end, not even when killed");
            }
        }
        match fs::remove_file(self.record(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn start(&self, name: &str, command: &Command, fingerprint: String) -> Result<()> {
        fs::create_dir_all(&self.records)?;
        fs::create_dir_all(&self.logs)?;
        let log = self.log(name);
        if log.exists() {
            fs::rename(&log, log.with_extension("previous.log"))?;
        }
        let file = File::create(&log)?;
        let mut session = Command::new("sh");
        session.args(["-c", DETACH, "sh"]).arg(command.get_program()).args(command.get_args()).current_dir("/");
        session.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        for (variable, value) in command.get_envs() {
            match value {
                Some(value) => session.env(variable, value),
                None => session.env_remove(variable),
            };
        }
        let child = session.spawn().with_context(|| format!("failed to start `{}`", describe(&session)))?;
        let pid = i32::try_from(child.id())?;
        // It may have ended already: then no record is needed, and waiting for it tells what it said.
        let Some(start_time) = start_time(pid) else { return Ok(()) };
        let record = Record { pid, start_time, boot_id: boot_id()?, fingerprint };
        fs::write(self.record(name), serde_json::to_vec(&record)?)?;
        Ok(())
    }

    fn running(&self, name: &str) -> Option<Record> {
        let record: Record = serde_json::from_slice(&fs::read(self.record(name)).ok()?).ok()?;
        let is_same =
            start_time(record.pid) == Some(record.start_time) && boot_id().is_ok_and(|id| id == record.boot_id);
        is_same.then_some(record)
    }

    fn record(&self, name: &str) -> PathBuf {
        self.records.join(format!("{name}.json"))
    }
}

/// Waits until `is_so`, looking often; `false` if the limit passed first.
pub fn wait_for(limit: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        sleep(POLL);
    }
}

/// Sends a signal; a process that is gone is no error.
pub fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// The process of a container: the one in the pod's control group that runs `program`. `None` while there is none.
pub fn of_pod(pod_uid: &str, program: &str) -> Option<i32> {
    let entries = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.find(|pid| {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        // The kernel cuts names after 15 characters.
        read("comm").trim() == &program[..program.len().min(15)] && read("cgroup").contains(pod_uid)
    })
}

/// When a living process started, to a hundredth of a second.
pub fn started_at(pid: i32) -> Option<SystemTime> {
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    let now = SystemTime::now();
    let age = uptime - start_time(pid)? as f64 / TICKS as f64;
    now.checked_sub(Duration::try_from_secs_f64(age.max(0.0)).ok()?)
}

/// Resident memory of a process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Now.
    pub resident: u64,
    /// The most it ever was.
    pub peak: u64,
}

/// How much memory a living process has.
pub fn memory_of(pid: i32) -> Option<Memory> {
    parse_memory(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// Reads `VmRSS` and `VmHWM` of `/proc/PID/status`, which are in KiB.
fn parse_memory(status: &str) -> Option<Memory> {
    let bytes = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
    };
    Some(Memory { resident: bytes("VmRSS:")?, peak: bytes("VmHWM:")? })
}

/// When a living process started, in clock ticks after boot. `None` if there is none, or only its remains.
fn start_time(pid: i32) -> Option<u64> {
    parse_start_time(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads the 22nd field of `/proc/PID/stat`; `None` for a zombie. proc(5): the second field is the program's name in
/// parentheses and may hold anything, so that fields are counted from the last parenthesis.
fn parse_start_time(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn boot_id() -> Result<String> {
    let file = "/proc/sys/kernel/random/boot_id";
    Ok(fs::read_to_string(file).with_context(|| format!("failed to read {file}"))?.trim().to_owned())
}

fn fingerprint(command: &Command, files: &[&str]) -> String {
    let all = std::iter::once(describe(command)).chain(files.iter().map(ToString::to_string)).collect::<Vec<_>>();
    hexadecimal(digest(&SHA256, all.join("\0").as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::command;

    fn processes(test: &str) -> Processes {
        Processes::new(&std::env::temp_dir().join(format!("calls-e2e-{test}-{}", std::process::id())))
    }

    fn remove(processes: &Processes) {
        fs::remove_dir_all(processes.records.parent().expect("a folder")).expect("removed");
    }

    #[test]
    fn start_time_is_read_past_a_program_name_with_parentheses() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1";
        assert_eq!(parse_start_time(stat), Some(4242));
        assert_eq!(parse_start_time(&stat.replace(") S ", ") Z ")), None);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\tcalls-operator\nVmHWM:\t   50000 kB\nVmRSS:\t   40960 kB\nThreads:\t3\n";
        assert_eq!(parse_memory(status), Some(Memory { resident: 40960 * 1024, peak: 50000 * 1024 }));
        assert_eq!(parse_memory("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn a_process_started_when_it_did() {
        let processes = processes("started-at");
        let before = SystemTime::now();
        processes.ensure("sleep", &command("sleep", ["600"]), &[]).expect("started");
        let started = started_at(processes.pid("sleep").expect("it runs")).expect("it runs");
        // A hundredth for the kernel's clock, one for rounding.
        let margin = Duration::from_millis(20);
        assert!(started + margin >= before && started <= SystemTime::now() + margin, "{started:?}, {before:?}");
        processes.stop("sleep").expect("stopped");
        remove(&processes);
    }

    #[test]
    fn a_process_is_reused_until_its_command_or_files_change() {
        let processes = processes("reuse");
        let sleep = command("sleep", ["600"]);
        assert_eq!(processes.ensure("sleep", &sleep, &["a"]).expect("started"), Started::Now);
        let first = processes.pid("sleep").expect("it runs");
        assert_eq!(processes.ensure("sleep", &sleep, &["a"]).expect("kept"), Started::Before);
        assert_eq!(processes.pid("sleep"), Some(first));
        assert_eq!(processes.ensure("sleep", &sleep, &["b"]).expect("restarted"), Started::Now);
        assert_ne!(processes.pid("sleep"), Some(first));
        processes.stop("sleep").expect("stopped");
        assert_eq!((processes.pid("sleep"), processes.names()), (None, vec![]));
        remove(&processes);
    }

    #[test]
    fn a_process_does_not_hold_what_its_callers_caller_left_open() {
        let look = |detach: &str| {
            let script = r#"exec 5</dev/null; exec sh -c "$0" sh readlink /proc/self/fd/5"#;
            crate::command::output(&mut command("sh", ["-c", script, detach]))
        };
        assert_eq!(look(r#"exec "$@""#).expect("it is inherited").trim(), "/dev/null");
        assert!(look(DETACH).is_err(), "the file is still open");
    }

    #[test]
    fn somebody_elses_process_of_the_same_id_is_not_ours() {
        let processes = processes("stranger");
        processes.ensure("sleep", &command("sleep", ["600"]), &[]).expect("started");
        let file = processes.record("sleep");
        let mut record: Record = serde_json::from_slice(&fs::read(&file).expect("read")).expect("a record");
        let pid = record.pid;
        record.start_time += 1;
        fs::write(&file, serde_json::to_vec(&record).expect("JSON")).expect("written");
        processes.stop("sleep").expect("forgotten");
        assert!(start_time(pid).is_some(), "it was ended though it was not the recorded one");
        signal(pid, Signal::KILL);
        remove(&processes);
    }

    #[test]
    fn waiting_for_a_process_that_ended_says_what_it_said() {
        let processes = processes("ended");
        processes.ensure("sh", &command("sh", ["-c", "echo port taken; exit 1"]), &[]).expect("started");
        let error = processes.wait(&["sh"], "never", Duration::from_secs(20), || false).expect_err("it ended");
        assert!(format!("{error:#}").contains("port taken"), "{error:#}");
        remove(&processes);
    }
}
