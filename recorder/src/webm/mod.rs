//! WebM: the file, written from its beginning to its end and never gone back into while it grows.
//!
//! In: blocks of a picture and a sound track, in the order of their times. Out: first a header, then clusters of at most
//! a second. Each leaves as one piece, so a file that ends anywhere plays to its last whole cluster. What only the end
//! knows (duration, index) is an end of the file and a few patches of its front, for which room is kept; a store that
//! cannot patch leaves them out, and players then find their way by reading.
//!
//! Element ids and their meaning: RFC 9559; which of them WebM has: <https://www.webmproject.org/docs/container/>.

mod cues;
mod ebml;
mod header;

use std::collections::VecDeque;
use std::time::Duration;

use self::cues::Cues;
pub use self::header::{AudioTrack, Header, VideoTrack};

const CLUSTER: u32 = 0x1f43_b675;
const CLUSTER_TIMESTAMP: u32 = 0xe7;
const SIMPLE_BLOCK: u32 = 0xa3;
/// A block that nothing before it is needed for.
const KEYFRAME: u8 = 0x80;

/// Longest time a cluster covers: what of the file's end is lost when its writer dies. Shorter ones cost bytes: 20 each.
pub const LONGEST_CLUSTER: Duration = Duration::from_secs(1);
/// A cluster of more bytes ends too, so that it does not take memory without bound. Pictures of 30 Mbit/s pass whole.
const LARGEST_CLUSTER: usize = 4 << 20;

/// The tracks of a file; a file without pictures has only sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TrackNumber {
    Video = 1,
    Audio = 2,
}

/// A frame of one track.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    pub track: TrackNumber,
    /// Since the beginning of the file; counted in whole milliseconds.
    pub time: Duration,
    pub keyframe: bool,
    pub data: &'a [u8],
}

/// Bytes to write over those at an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    pub offset: u64,
    pub bytes: Vec<u8>,
    /// It tells of the file's end, so it is wrong in a file that lacks it.
    pub of_end: bool,
}

/// Writes a file.
#[derive(Debug)]
pub struct Writer {
    output: VecDeque<Vec<u8>>,
    /// Length of all that was put out.
    length: u64,
    places: header::Places,
    cluster: Option<Cluster>,
    cues: Cues,
    has_video: bool,
}

#[derive(Debug)]
struct Cluster {
    started: u64,
    body: Vec<u8>,
    /// Whether playing can begin at it.
    is_entry: bool,
}

impl Writer {
    /// Begins a file: its header is the first output.
    pub fn new(header: &Header) -> Self {
        let (bytes, places) = header::write(header);
        let length = bytes.len() as u64;
        let has_video = header.video.is_some();
        Self { output: VecDeque::from([bytes]), length, places, cluster: None, cues: Cues::default(), has_video }
    }

    /// Adds a frame. A time before the cluster's counts as the cluster's.
    pub fn write(&mut self, block: Block<'_>) {
        let time = block.time.as_millis() as u64;
        let is_entry = block.keyframe && (block.track == TrackNumber::Video || !self.has_video);
        let begins_anew = self.cluster.as_ref().is_none_or(|cluster| {
            time >= cluster.started + LONGEST_CLUSTER.as_millis() as u64
                || cluster.body.len() + block.data.len() > LARGEST_CLUSTER
                // Keyframes of pictures begin clusters, so that seeking finds them.
                || (is_entry && self.has_video && !cluster.is_entry)
        });
        if begins_anew {
            self.end_cluster();
            let mut body = Vec::new();
            ebml::put_uint(&mut body, CLUSTER_TIMESTAMP, time);
            self.cluster = Some(Cluster { started: time, body, is_entry });
        }
        let Some(cluster) = &mut self.cluster else { return };
        ebml::put_id(&mut cluster.body, SIMPLE_BLOCK);
        ebml::put_size(&mut cluster.body, 4 + block.data.len() as u64);
        let relative = time.saturating_sub(cluster.started) as u16;
        let flags = if block.keyframe { KEYFRAME } else { 0 };
        let [high, low] = relative.to_be_bytes();
        cluster.body.extend_from_slice(&[0x80 | block.track as u8, high, low, flags]);
        cluster.body.extend_from_slice(block.data);
    }

    /// The next bytes of the file.
    pub fn poll_output(&mut self) -> Option<Vec<u8>> {
        self.output.pop_front()
    }

    /// Ends the file, which is `duration` long: the rest of its bytes is put out, and these patches make the whole of it
    /// known at its front.
    pub fn finish(&mut self, duration: Duration) -> Vec<Patch> {
        self.end_cluster();
        let cues_at = self.length;
        let cues = self.cues.write(if self.has_video { TrackNumber::Video } else { TrackNumber::Audio });
        self.put_out(cues);
        self.places.patches(duration, cues_at, self.length)
    }

    fn end_cluster(&mut self) {
        let Some(cluster) = self.cluster.take() else { return };
        if cluster.is_entry {
            self.cues.add(cluster.started, self.length - self.places.segment);
        }
        let mut bytes = Vec::with_capacity(cluster.body.len() + 12);
        ebml::put(&mut bytes, CLUSTER, &cluster.body);
        self.put_out(bytes);
    }

    fn put_out(&mut self, bytes: Vec<u8>) {
        self.length += bytes.len() as u64;
        self.output.push_back(bytes);
    }
}

#[cfg(test)]
mod tests;
