//! A recorder at work, the program `calls-recorder`, and a look at the file it wrote.

use std::f64::consts::TAU;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::bench::network::measure::Entrance;
use crate::cluster::process::wait_for;
use crate::command::{command, output};

/// For the file to be finished once the recorder was told to.
const FINISH_LIMIT: Duration = Duration::from_secs(20);
/// Samples a second that sound is looked at with.
const RATE: u32 = 16_000;

/// The running program. It is killed when this is dropped.
#[derive(Debug)]
pub struct Recorder {
    child: Child,
    file: PathBuf,
}

impl Recorder {
    /// Records `call` to `file`.
    ///
    /// # Errors
    /// When the program does not start.
    pub fn start(program: &Path, entrance: &Entrance, call: &str, file: &Path) -> Result<Self> {
        let mut record = command(program, ["record", call, "--url", &entrance.url, "--output"]);
        record.arg(file).stdin(Stdio::null());
        record.env("LIVEKIT_API_KEY", &entrance.key).env("LIVEKIT_API_SECRET", &entrance.secret);
        let child = record.spawn().with_context(|| format!("failed to start {}", program.display()))?;
        Ok(Self { child, file: file.to_owned() })
    }

    /// Ends the recording as Kubernetes would.
    ///
    /// # Errors
    /// When the file is not finished after a while, or the program says that something went wrong.
    pub fn stop(mut self) -> Result<Recorded> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).context("the recorder ended before it was told to")?;
        let mut ended = None;
        wait_for(FINISH_LIMIT, || {
            ended = self.child.try_wait().ok().flatten();
            ended.is_some()
        });
        match ended {
            Some(status) if status.success() => Ok(Recorded { file: self.file.clone() }),
            Some(status) => bail!("the recorder ended with {status}"),
            None => bail!("the recorder does not end within {} s", FINISH_LIMIT.as_secs()),
        }
    }

    /// Ends the program without a word: what was written until now is all there is.
    ///
    /// # Errors
    /// When it had ended already.
    pub fn kill(mut self) -> Result<Recorded> {
        ensure!(self.child.try_wait()?.is_none(), "the recorder ended before it was killed");
        self.child.kill()?;
        self.child.wait()?;
        Ok(Recorded { file: self.file.clone() })
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What was recorded.
#[derive(Debug)]
pub struct Recorded {
    pub file: PathBuf,
}

impl Recorded {
    /// How much of the sound is a tone of so many hertz: root mean square, full scale is 1. In the second in which it is
    /// loudest.
    ///
    /// # Errors
    /// When ffmpeg cannot read the file.
    pub fn loudest(&self, tone: u32) -> Result<f64> {
        let mut decode = command("ffmpeg", ["-v", "error", "-xerror", "-i"]);
        decode.arg(&self.file).args(["-map", "0:a:0", "-f", "s16le", "-ac", "1", "-ar", &RATE.to_string(), "-"]);
        let decoded = decode.output().context("failed to start ffmpeg")?;
        ensure!(decoded.status.success(), "ffmpeg: {}", String::from_utf8_lossy(&decoded.stderr));
        let samples: Vec<f64> = decoded
            .stdout
            .chunks_exact(2)
            .map(|pair| f64::from(i16::from_le_bytes([pair[0], pair[1]])) / f64::from(i16::MAX))
            .collect();
        Ok(samples.chunks_exact(RATE as usize).map(|second| strength(second, tone)).fold(0.0, f64::max))
    }

    /// How bright each of its pictures is on average, from 0 to 255.
    ///
    /// # Errors
    /// When ffmpeg cannot read the file.
    pub fn brightness(&self) -> Result<Vec<u8>> {
        let mut decode = command("ffmpeg", ["-v", "error", "-i"]);
        decode.arg(&self.file).args(["-map", "0:v:0", "-fps_mode", "passthrough", "-vf", "scale=1:1:flags=area"]);
        decode.args(["-f", "rawvideo", "-pix_fmt", "gray", "-"]);
        let decoded = decode.output().context("failed to start ffmpeg")?;
        ensure!(decoded.status.success(), "ffmpeg: {}", String::from_utf8_lossy(&decoded.stderr));
        Ok(decoded.stdout)
    }

    /// How long it is, as its own header says; `None` if it says nothing, as of a recording that was cut short.
    ///
    /// # Errors
    /// When ffprobe cannot read the file.
    pub fn duration(&self) -> Result<Option<f64>> {
        let mut probe = command("ffprobe", ["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0"]);
        Ok(output(probe.arg(&self.file))?.trim().parse().ok())
    }
}

/// By the algorithm of Goertzel.
fn strength(samples: &[f64], tone: u32) -> f64 {
    let step = 2.0 * (TAU * f64::from(tone) / f64::from(RATE)).cos();
    let (last, before) =
        samples.iter().fold((0.0, 0.0), |(last, before), sample| (step * last - before + sample, last));
    let power = last.mul_add(last, before * before) - step * last * before;
    (2.0 * power.max(0.0)).sqrt() / samples.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_told_from_another() {
        let of = |tone: f64| move |at: u32| 0.5 * (TAU * tone * f64::from(at) / f64::from(RATE)).sin();
        let samples: Vec<f64> = (0..RATE).map(of(440.0)).collect();
        // Half of full scale is 0.354 (root mean square).
        assert!((strength(&samples, 440) - 0.354).abs() < 0.01, "{}", strength(&samples, 440));
        assert!(strength(&samples, 880) < 0.001);
    }
}
