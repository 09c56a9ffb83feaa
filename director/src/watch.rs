//! Following every SFU: one task each, which keeps its `/fleet/v1/watch` stream open and feeds the table.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use fleet::api::{FleetEvent, WATCH_PATH};
use http_body_util::{BodyExt, Either, Empty};
use hyper::{Request, StatusCode, header};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::connect::{ConnectError, Connector};
use crate::sfu_address::SfuAddress;
use crate::table::{SILENCE, Table};
use crate::view::View;

/// Longest line read: a snapshot of tens of thousands of calls with the longest names there are.
const MAX_LINE: usize = 16 << 20;
/// Pause before an SFU is called again. The first is short: a stream that broke is often back at once, and if not, a
/// refusal tells that the SFU is gone.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause: how late a director may notice an SFU that just started.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("HTTP failed")]
    Http(#[from] hyper::Error),
    #[error("request cannot be made")]
    Request(#[from] hyper::http::Error),
    #[error("answered {0}")]
    Status(StatusCode),
    #[error("silent for {} s", SILENCE.as_secs())]
    Silent,
    #[error("the SFU ended the stream")]
    Ended,
    #[error("a line is longer than {MAX_LINE} bytes")]
    LineTooLong,
    #[error("the first line is not a snapshot")]
    NoSnapshot,
}

/// Follows the SFUs in `listed`, and those that were in it for as long as they are heard. Ends when `listed` does.
pub async fn follow_all(
    view: Arc<View>,
    connector: Arc<Connector>,
    mut listed: watch::Receiver<Option<BTreeSet<SfuAddress>>>,
) {
    let mut followed = HashMap::new();
    let mut tasks = JoinSet::new();
    loop {
        let wanted = listed.borrow_and_update().clone();
        if let Some(wanted) = wanted {
            view.change(|table, now| table.list(&wanted, now));
            for address in wanted {
                followed.entry(address.clone()).or_insert_with(|| {
                    info!(sfu = %address, "SFU listed");
                    tasks.spawn(follow(view.clone(), connector.clone(), address)).id()
                });
            }
        }
        tokio::select! {
            changed = listed.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            Some(ended) = tasks.join_next_with_id() => {
                let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                followed.retain(|_, of| *of != id);
            }
        }
    }
}

/// Follows one SFU until it is neither listed nor heard.
async fn follow(view: Arc<View>, connector: Arc<Connector>, address: SfuAddress) {
    let mut pause = FIRST_PAUSE;
    let mut told = false;
    loop {
        let mut heard = false;
        let error = match read_stream(&view, &connector, &address, &mut heard).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        if heard {
            (pause, told) = (FIRST_PAUSE, false);
        }
        if told {
            debug!(sfu = %address, %error, "still no stream from the SFU");
        } else {
            warn!(sfu = %address, %error, "no stream from the SFU");
            told = true;
        }
        match error {
            WatchError::Connect(ConnectError::Refused) => view.change(|table, now| table.refused(&address, now)),
            _ => view.change(|table, now| table.lost(&address, now)),
        }
        if !view.table().is_listed(&address) {
            info!(sfu = %address, "SFU is gone");
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Reads one stream to its end, which is always an error. `heard` tells whether a snapshot came.
async fn read_stream(
    view: &View,
    connector: &Connector,
    address: &SfuAddress,
    heard: &mut bool,
) -> Result<std::convert::Infallible, WatchError> {
    // Not bound to the SFU's being given up: this stream is what finds out that it is back. Dropped with the body.
    let ended = CancellationToken::new();
    let _end = ended.clone().drop_guard();
    let mut sender = connector.open(address, ended).await?;
    let request =
        Request::get(WATCH_PATH).header(header::HOST, fleet::names::tls_name::SFU).body(Either::Left(Empty::new()))?;
    let within = |_| WatchError::Silent;
    let response = tokio::time::timeout(SILENCE, sender.send_request(request)).await.map_err(within)??;
    if response.status() != StatusCode::OK {
        return Err(WatchError::Status(response.status()));
    }
    let mut body = response.into_body();
    let mut lines = Lines::default();
    loop {
        let frame = tokio::time::timeout(SILENCE, body.frame()).await.map_err(within)?.ok_or(WatchError::Ended)??;
        let Ok(data) = frame.into_data() else { continue };
        lines.push(&data)?;
        while let Some(line) = lines.next_line() {
            let Ok(event) = serde_json::from_slice::<FleetEvent>(&line) else {
                debug!(sfu = %address, "line of a watch stream not understood; a newer SFU's, perhaps");
                continue;
            };
            if !*heard {
                let FleetEvent::Snapshot { status, calls } = &event else { return Err(WatchError::NoSnapshot) };
                info!(sfu = %address, name = %status.name, n_calls = calls.len(), "SFU heard");
                *heard = true;
            }
            view.change(|table: &mut Table, now| table.heard(address, event, now));
        }
    }
}

/// Cuts a byte stream into lines.
#[derive(Debug, Default)]
struct Lines {
    buffer: BytesMut,
    /// Up to here there is no line feed.
    searched: usize,
}

impl Lines {
    fn push(&mut self, data: &[u8]) -> Result<(), WatchError> {
        if self.buffer.len() + data.len() > MAX_LINE {
            return Err(WatchError::LineTooLong);
        }
        self.buffer.extend_from_slice(data);
        Ok(())
    }

    fn next_line(&mut self) -> Option<BytesMut> {
        let Some(at) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = self.buffer.len();
            return None;
        };
        let line = self.buffer.split_to(self.searched + at + 1);
        self.searched = 0;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(chunks: &[&str]) -> Vec<String> {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for chunk in chunks {
            lines.push(chunk.as_bytes()).unwrap();
            while let Some(line) = lines.next_line() {
                found.push(String::from_utf8(line.to_vec()).unwrap());
            }
        }
        found
    }

    #[test]
    fn lines_are_found_however_the_stream_is_cut() {
        assert_eq!(lines_of(&["a\nbc\n", "d"]), ["a\n", "bc\n"]);
        assert_eq!(lines_of(&["a", "b", "\n", "\nc\n"]), ["ab\n", "\n", "c\n"]);
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut lines = Lines::default();
        let chunk = vec![b'x'; MAX_LINE / 2];
        lines.push(&chunk).unwrap();
        lines.push(&chunk).unwrap();
        assert!(matches!(lines.push(b"x"), Err(WatchError::LineTooLong)));
    }
}
