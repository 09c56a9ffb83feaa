//! What the API server wrote down of requests.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Verbs that change something.
const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

/// The requests of one account that are known, oldest first: a log that grew too long is beside the one it is now.
pub fn of_account(log: &Path, account: &str) -> Result<Vec<Value>> {
    let folder = log.parent().context("the audit log is in no folder")?;
    let mut logs: Vec<PathBuf> = std::fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path != log && path.extension() == log.extension())
        .collect();
    // Their names have the time they were set aside.
    logs.sort();
    logs.push(log.to_path_buf());
    let mut events = Vec::new();
    for path in logs {
        events.extend(events_of(&std::fs::read_to_string(path)?, account));
    }
    Ok(events)
}

/// The audit log from a moment on. The API server writes an event before it answers the request.
#[derive(Debug)]
pub struct AuditTail {
    path: PathBuf,
    file: File,
}

impl AuditTail {
    /// From now on.
    pub fn begin(log: &Path) -> Result<Self> {
        let mut file = File::open(log).with_context(|| format!("failed to read {}", log.display()))?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { path: log.to_path_buf(), file })
    }

    /// The requests of one account until now, oldest first.
    pub fn of_account(mut self, account: &str) -> Result<Vec<Value>> {
        let mut text = String::new();
        self.file.read_to_string(&mut text)?;
        // A log that grew too long was set aside meanwhile, and goes on in a new file of its name.
        let mut current = File::open(&self.path)?;
        if current.metadata()?.ino() != self.file.metadata()?.ino() {
            current.read_to_string(&mut text)?;
        }
        Ok(events_of(&text, account))
    }
}

fn events_of(log: &str, account: &str) -> Vec<Value> {
    let events = log.lines().filter(|line| line.contains(account));
    let events = events.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter(|event| event["user"]["username"] == account).collect()
}

/// What a request changed, as `patch callsclusters/status calls/main`; `None` if it only reads.
pub fn written(event: &Value) -> Option<String> {
    let verb = event["verb"].as_str().filter(|verb| WRITES.contains(verb))?;
    let object = &event["objectRef"];
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    let subresource = object["subresource"].as_str().map(|name| format!("/{name}")).unwrap_or_default();
    Some(format!("{verb} {}{subresource} {}/{}", text("resource"), text("namespace"), text("name")))
}

/// When the API server got a request.
pub fn received_at(event: &Value) -> Option<SystemTime> {
    let text = event["requestReceivedTimestamp"].as_str()?;
    OffsetDateTime::parse(text, &Rfc3339).ok().map(SystemTime::from)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn line(account: &str, verb: &str) -> String {
        let object =
            json!({"resource": "callsclusters", "subresource": "status", "namespace": "calls", "name": "main"});
        let event = json!({"user": {"username": account}, "verb": verb, "objectRef": object,
            "requestReceivedTimestamp": "1970-01-01T00:00:02.500000Z"});
        format!("{event}\n")
    }

    #[test]
    fn only_what_one_account_did_since_then_is_told_though_the_log_was_set_aside() {
        let folder = std::env::temp_dir().join(format!("calls-e2e-audit-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let log = folder.join("audit.log");
        fs::write(&log, line("me", "create")).expect("written");
        let tail = AuditTail::begin(&log).expect("begun");
        let mut file = File::options().append(true).open(&log).expect("opened");
        file.write_all((line("me", "patch") + &line("you", "delete")).as_bytes()).expect("written");
        fs::rename(&log, folder.join("audit-1.log")).expect("set aside");
        fs::write(&log, line("me", "update")).expect("written");
        let verbs = |events: Vec<Value>| {
            events.iter().filter_map(|event| event["verb"].as_str().map(str::to_owned)).collect::<Vec<_>>()
        };
        assert_eq!(verbs(tail.of_account("me").expect("read")), ["patch", "update"]);
        assert_eq!(verbs(of_account(&log, "me").expect("read")), ["create", "patch", "update"]);
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn a_write_is_told_by_what_it_changed_and_when() {
        let event = |verb: &str| serde_json::from_str::<Value>(&line("me", verb)).expect("JSON");
        assert_eq!(written(&event("patch")).as_deref(), Some("patch callsclusters/status calls/main"));
        assert_eq!(written(&event("watch")), None);
        assert_eq!(received_at(&event("get")), Some(SystemTime::UNIX_EPOCH + Duration::from_millis(2500)));
    }
}
