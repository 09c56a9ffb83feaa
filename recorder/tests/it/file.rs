//! A file as ffmpeg sees it, and as a reader of our own does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use opusic_c::{Channels, Decoder, SampleRate};
use serde_json::Value;

/// A file that goes when it is dropped.
pub struct File {
    path: PathBuf,
    pub bytes: Vec<u8>,
}

/// A picture as ffmpeg decodes it.
#[derive(Debug, Clone, Copy)]
pub struct Picture {
    /// In seconds.
    pub at: f64,
    /// 16 is black, 235 white.
    pub light: f64,
}

impl File {
    pub fn new(name: &str, bytes: Vec<u8>) -> Self {
        let path = std::env::temp_dir().join(format!("calls-recorder-{name}-{}.webm", std::process::id()));
        fs::write(&path, &bytes).expect("written");
        Self { path, bytes }
    }

    /// Streams and format.
    pub fn probe(&self) -> Value {
        let text = run("ffprobe", &["-v", "error", "-show_streams", "-show_format", "-of", "json"], &[&self.path]).0;
        serde_json::from_slice(&text).expect("JSON")
    }

    /// Times of all packets of a stream (`a` or `v`), in seconds.
    pub fn packets(&self, stream: &str) -> Vec<f64> {
        let arguments =
            ["-v", "error", "-select_streams", stream, "-show_entries", "packet=pts_time", "-of", "csv=p=0"];
        let text = run("ffprobe", &arguments, &[&self.path]).0;
        let text = String::from_utf8(text).expect("text");
        text.lines().filter_map(|line| line.trim_end_matches(',').parse().ok()).collect()
    }

    /// Sound as ffmpeg decodes it: 48 kHz, one channel.
    pub fn sound(&self) -> Vec<f32> {
        let after = ["-vn", "-f", "f32le", "-ac", "1", "-ar", "48000", "-"];
        let bytes = ffmpeg(&self.path, &after).0;
        bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().expect("four"))).collect()
    }

    pub fn pictures(&self) -> Vec<Picture> {
        let after = ["-an", "-vf", "scale=16:16:flags=area,format=gray,showinfo", "-f", "null", "-"];
        let said = ffmpeg(&self.path, &after).1;
        let lines = said.lines().filter(|line| line.contains("showinfo") && line.contains(" mean:["));
        let number = |line: &str, before: &str| {
            let (_, rest) = line.split_once(before).expect(before);
            let digits: String = rest.trim_start().chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
            digits.parse().expect("a number")
        };
        lines
            .map(|line| Picture {
                at: number(line, "pts_time:"),
                // ffmpeg makes 16 to 235 into 0 to 255.
                light: 16.0 + number(line, " mean:[") * 219.0 / 255.0,
            })
            .collect()
    }

    /// Sound as it is in the blocks, by libopus alone.
    pub fn own_sound(&self) -> Vec<f32> {
        let mut decoder = Decoder::new(Channels::Mono, SampleRate::Hz48000).expect("a decoder");
        let mut sound = Vec::new();
        for block in self.blocks().iter().filter(|block| block.track == 2) {
            let at = sound.len() / 48;
            assert_eq!(block.time as usize, at, "the track has no holes");
            let mut frame = vec![0.0; 5760];
            let length = decoder.decode_float_to_slice(&block.data, &mut frame, false).expect("Opus");
            sound.extend_from_slice(&frame[..length]);
        }
        let head = self.bytes.windows(8).position(|bytes| bytes == b"OpusHead").expect("a header");
        let pre_skip = usize::from(u16::from_le_bytes([self.bytes[head + 10], self.bytes[head + 11]]));
        sound.split_off(pre_skip)
    }

    /// All blocks of whole clusters.
    pub fn blocks(&self) -> Vec<OwnBlock> {
        let mut blocks = Vec::new();
        let mut rest = &self.bytes[..];
        while let Some((id, body, after)) = element(rest) {
            match id {
                // The segment's size is unknown, or the rest: go into it.
                0x1853_8067 => rest = &rest[12..],
                0x1f43_b675 => {
                    cluster(body, &mut blocks);
                    rest = after;
                }
                _ => rest = after,
            }
        }
        blocks
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

pub struct OwnBlock {
    pub track: u8,
    /// In milliseconds.
    pub time: u64,
    pub keyframe: bool,
    pub data: Vec<u8>,
}

fn cluster(mut rest: &[u8], blocks: &mut Vec<OwnBlock>) {
    let mut started = 0;
    while let Some((id, body, after)) = element(rest) {
        match id {
            0xe7 => started = body.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)),
            0xa3 => blocks.push(OwnBlock {
                track: body[0] & 0x7f,
                time: started + u64::from(u16::from_be_bytes([body[1], body[2]])),
                keyframe: body[3] & 0x80 != 0,
                data: body[4..].to_vec(),
            }),
            _ => panic!("{id:x} in a cluster"),
        }
        rest = after;
    }
}

/// Id, body and what follows. A segment has no body here. `None` at the end, and for what is cut short.
fn element(bytes: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let id_length = bytes.first()?.leading_zeros() as usize + 1;
    let id = bytes.get(..id_length)?.iter().fold(0, |id, byte| id << 8 | u32::from(*byte));
    if id == 0x1853_8067 {
        return Some((id, &[], &[]));
    }
    let rest = bytes.get(id_length..)?;
    let size_length = rest.first()?.leading_zeros() as usize + 1;
    let size = rest.get(..size_length)?.iter().fold(0_u64, |size, byte| size << 8 | u64::from(*byte));
    let size = (size & ((1 << (7 * size_length)) - 1)) as usize;
    let (body, after) = rest.get(size_length..)?.split_at_checked(size)?;
    Some((id, body, after))
}

fn ffmpeg(path: &Path, after: &[&str]) -> (Vec<u8>, String) {
    let path = path.to_str().expect("a path");
    let arguments: Vec<&str> =
        ["-v", "info", "-nostats", "-copyts", "-i", path].into_iter().chain(after.iter().copied()).collect();
    run("ffmpeg", &arguments, &[])
}

fn run(program: &str, arguments: &[&str], paths: &[&Path]) -> (Vec<u8>, String) {
    let mut command = Command::new(program);
    command.args(arguments).args(paths).stdin(Stdio::null());
    let output = command.output().unwrap_or_else(|error| panic!("{program}, of a Debian package: {error}"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program}: {said}");
    (output.stdout, said)
}

/// How loud a tone is within a part of a sound, as its amplitude (Goertzel).
pub fn loudness(sound: &[f32], hertz: f64, from: f64, until: f64) -> f64 {
    let part = &sound[(from * 48_000.0) as usize..(until * 48_000.0) as usize];
    let turn = 2.0 * (std::f64::consts::TAU * hertz / 48_000.0).cos();
    let (mut last, mut before) = (0.0, 0.0);
    for sample in part {
        (last, before) = (f64::from(*sample) + turn * last - before, last);
    }
    2.0 * (last * last + before * before - turn * last * before).max(0.0).sqrt() / part.len() as f64
}

/// Loudest sample of a part.
pub fn peak(sound: &[f32], from: f64, until: f64) -> f32 {
    let part = &sound[(from * 48_000.0) as usize..(until * 48_000.0) as usize];
    part.iter().fold(0.0, |peak, sample| peak.max(sample.abs()))
}

/// When beeps begin, in seconds: the first loud sample after a pause.
pub fn onsets(sound: &[f32]) -> Vec<f64> {
    let mut onsets: Vec<f64> = Vec::new();
    let mut last_loud = f64::MIN;
    for (at, sample) in sound.iter().enumerate() {
        if sample.abs() > 0.2 {
            let at = at as f64 / 48_000.0;
            if at > last_loud + 0.5 {
                onsets.push(at);
            }
            last_loud = at;
        }
    }
    onsets
}
