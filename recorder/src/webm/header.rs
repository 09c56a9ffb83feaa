//! What stands before the first cluster, and what is known of it only at the end.

use std::time::Duration;

use super::{Patch, TrackNumber, ebml};
use crate::screen::VideoCodec;

const EBML: u32 = 0x1a45_dfa3;
const SEGMENT: u32 = 0x1853_8067;
const SEEK_HEAD: u32 = 0x114d_9b74;
const SEEK: u32 = 0x4dbb;
const SEEK_ID: u32 = 0x53ab;
const SEEK_POSITION: u32 = 0x53ac;
const INFO: u32 = 0x1549_a966;
const TIMESTAMP_SCALE: u32 = 0x2a_d7b1;
const DURATION: u32 = 0x4489;
const MUXING_APP: u32 = 0x4d80;
const WRITING_APP: u32 = 0x5741;
const TRACKS: u32 = 0x1654_ae6b;
const TRACK_ENTRY: u32 = 0xae;
const CUES: u32 = 0x1c53_bb6b;

/// Room for an index of the file's parts: three entries of at most 21 bytes and what encloses them.
const SEEK_HEAD_ROOM: usize = 80;
/// Room for the duration: id, size and eight bytes.
const DURATION_ROOM: usize = 11;
/// Timestamps count milliseconds: this many nanoseconds.
const MILLISECOND: u64 = 1_000_000;
const PROGRAM: &str = "calls-recorder";

/// What a file's header says of its tracks.
#[derive(Debug, Clone)]
pub struct Header {
    /// `None` for a file of sound alone.
    pub video: Option<VideoTrack>,
    pub audio: AudioTrack,
}

#[derive(Debug, Clone)]
pub struct VideoTrack {
    pub codec: VideoCodec,
    /// Of the first picture; later ones may have other sizes.
    pub width: u32,
    pub height: u32,
    /// What decoders are told beforehand, in the codec's own form. Empty for none.
    pub private: Vec<u8>,
}

/// An Opus track of one channel.
#[derive(Debug, Clone, Copy)]
pub struct AudioTrack {
    /// Samples of 48 kHz that the encoder puts before the first.
    pub pre_skip: u16,
}

/// Where the header lies that is written last.
#[derive(Debug, Clone)]
pub struct Places {
    /// Begin of the segment's body, from which all positions count.
    pub segment: u64,
    seek_head: u64,
    info: u64,
    duration: u64,
    tracks: u64,
}

pub fn write(header: &Header) -> (Vec<u8>, Places) {
    let mut out = Vec::new();
    ebml::put_master(&mut out, EBML, |body| {
        ebml::put_uint(body, 0x4286, 1); // EBMLVersion
        ebml::put_uint(body, 0x42f7, 1); // EBMLReadVersion
        ebml::put_uint(body, 0x42f2, 4); // EBMLMaxIDLength
        ebml::put_uint(body, 0x42f3, 8); // EBMLMaxSizeLength
        ebml::put_text(body, 0x4282, "webm"); // DocType
        ebml::put_uint(body, 0x4287, 4); // DocTypeVersion: CodecDelay
        ebml::put_uint(body, 0x4285, 2); // DocTypeReadVersion: SimpleBlock
    });
    ebml::put_id(&mut out, SEGMENT);
    out.extend_from_slice(&ebml::UNKNOWN_SIZE);
    let segment = out.len() as u64;
    ebml::put_void(&mut out, SEEK_HEAD_ROOM);
    let info = out.len() as u64;
    ebml::put_master(&mut out, INFO, |body| {
        ebml::put_uint(body, TIMESTAMP_SCALE, MILLISECOND);
        ebml::put_text(body, MUXING_APP, PROGRAM);
        ebml::put_text(body, WRITING_APP, PROGRAM);
        ebml::put_void(body, DURATION_ROOM);
    });
    let tracks = out.len() as u64;
    ebml::put_master(&mut out, TRACKS, |body| {
        if let Some(video) = &header.video {
            ebml::put_master(body, TRACK_ENTRY, |entry| put_video(entry, video));
        }
        ebml::put_master(body, TRACK_ENTRY, |entry| put_audio(entry, header.audio));
    });
    let places = Places { segment, seek_head: segment, info, duration: tracks - DURATION_ROOM as u64, tracks };
    (out, places)
}

fn put_track(entry: &mut Vec<u8>, number: TrackNumber, kind: u64, codec: &str) {
    ebml::put_uint(entry, 0xd7, number as u64); // TrackNumber
    ebml::put_uint(entry, 0x73c5, number as u64); // TrackUID
    ebml::put_uint(entry, 0x83, kind); // TrackType
    ebml::put_uint(entry, 0x9c, 0); // FlagLacing
    ebml::put_text(entry, 0x22_b59c, "und"); // Language
    ebml::put_text(entry, 0x86, codec); // CodecID
}

fn put_video(entry: &mut Vec<u8>, video: &VideoTrack) {
    let codec = match video.codec {
        VideoCodec::Vp8 => "V_VP8",
        VideoCodec::Vp9 => "V_VP9",
        VideoCodec::Av1 => "V_AV1",
    };
    put_track(entry, TrackNumber::Video, 1, codec);
    if !video.private.is_empty() {
        ebml::put(entry, 0x63a2, &video.private); // CodecPrivate
    }
    ebml::put_master(entry, 0xe0, |body| {
        ebml::put_uint(body, 0xb0, u64::from(video.width)); // PixelWidth
        ebml::put_uint(body, 0xba, u64::from(video.height)); // PixelHeight
    });
}

fn put_audio(entry: &mut Vec<u8>, audio: AudioTrack) {
    const RATE: u32 = 48_000;
    /// What a decoder has to hear before it is right after a seek: 80 ms (RFC 7845, section 4.6), in nanoseconds.
    const SEEK_PRE_ROLL: u64 = 80 * MILLISECOND;
    put_track(entry, TrackNumber::Audio, 2, "A_OPUS");
    // The identification header of RFC 7845, section 5.1: version, one channel, pre-skip, rate, no gain, mapping 0.
    let mut private = b"OpusHead\x01\x01".to_vec();
    private.extend_from_slice(&audio.pre_skip.to_le_bytes());
    private.extend_from_slice(&RATE.to_le_bytes());
    private.extend_from_slice(&[0, 0, 0]);
    ebml::put(entry, 0x63a2, &private); // CodecPrivate
    let delay = u64::from(audio.pre_skip) * 1_000_000_000 / u64::from(RATE);
    ebml::put_uint(entry, 0x56aa, delay); // CodecDelay
    ebml::put_uint(entry, 0x56bb, SEEK_PRE_ROLL); // SeekPreRoll
    ebml::put_master(entry, 0xe1, |body| {
        ebml::put_float(body, 0xb5, f64::from(RATE)); // SamplingFrequency
        ebml::put_uint(body, 0x9f, 1); // Channels
    });
}

impl Places {
    /// What is to be written over the header of a file of `length` bytes whose index begins at `cues`.
    pub fn patches(&self, duration: Duration, cues: u64, length: u64) -> Vec<Patch> {
        let mut seek_head = Vec::new();
        ebml::put_master(&mut seek_head, SEEK_HEAD, |body| {
            for (id, at) in [(INFO, self.info), (TRACKS, self.tracks), (CUES, cues)] {
                ebml::put_master(body, SEEK, |seek| {
                    ebml::put(seek, SEEK_ID, &id.to_be_bytes());
                    ebml::put_uint(seek, SEEK_POSITION, at - self.segment);
                });
            }
        });
        let left = SEEK_HEAD_ROOM - seek_head.len();
        ebml::put_void(&mut seek_head, left);
        let mut seconds = Vec::new();
        ebml::put_float(&mut seconds, DURATION, duration.as_secs_f64() * 1000.0);
        vec![
            Patch { offset: self.segment - 8, bytes: ebml::long_size(length - self.segment).to_vec(), of_end: true },
            Patch { offset: self.seek_head, bytes: seek_head, of_end: true },
            Patch { offset: self.duration, bytes: seconds, of_end: false },
        ]
    }
}
