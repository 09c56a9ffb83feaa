//! The files of a recording: the recording itself, and who spoke when beside it.

use std::fs::{File, OpenOptions, remove_file};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use tokio::task::spawn_blocking;

use crate::Finished;

/// Of the file beside the recording.
const SPEAKERS: &str = "vtt";

/// What is written. Files to which nothing was written are gone again when this is dropped.
#[derive(Debug)]
pub struct Output {
    recording: New,
    speakers: New,
    /// A write failed, and may have left a part of what it was to write.
    is_torn: bool,
}

impl Output {
    /// Whether a recording can have this path.
    ///
    /// # Errors
    /// If it cannot, whatever is there.
    pub fn check(path: &Path) -> Result<()> {
        ensure!(path.file_name().is_some(), "{} names no file", path.display());
        let is_speakers = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(SPEAKERS));
        ensure!(!is_speakers, "{} is where it is written who spoke when: a recording ends in .webm", path.display());
        Ok(())
    }

    /// Creates the files. Never overwrites one.
    ///
    /// # Errors
    /// If one is there already, or cannot be.
    pub fn create(path: &Path) -> Result<Self> {
        Ok(Self {
            recording: New::create(path)?,
            speakers: New::create(&path.with_extension(SPEAKERS))?,
            is_torn: false,
        })
    }

    /// Length of the recording.
    pub const fn length(&self) -> u64 {
        self.recording.length
    }

    /// Writes the recording's next bytes. After an error, nothing: a file with a hole does not play.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.is_torn {
            return Ok(());
        }
        let written = self.recording.write(bytes);
        self.is_torn = written.is_err();
        written
    }

    /// Makes known at the recording's front what can be known, and writes who spoke when. What fails holds up nothing.
    ///
    /// # Errors
    /// The first thing that failed.
    pub async fn finish(&mut self, finished: &Finished) -> Result<()> {
        if self.length() == 0 {
            return Ok(());
        }
        let patched = self.patch(finished);
        let kept = self.recording.sync().await;
        let told = self.speakers.write(finished.speakers.as_bytes());
        patched.and(kept).with_context(|| self.recording.cannot_write()).and(told)
    }

    fn patch(&mut self, finished: &Finished) -> io::Result<()> {
        let file = &mut self.recording.file;
        if self.is_torn {
            file.set_len(self.recording.length)?;
        }
        for patch in finished.patches.iter().filter(|patch| !(self.is_torn && patch.of_end)) {
            file.seek(SeekFrom::Start(patch.offset))?;
            file.write_all(&patch.bytes)?;
        }
        Ok(())
    }
}

/// A file that was not there before.
#[derive(Debug)]
struct New {
    path: PathBuf,
    file: File,
    /// What was written whole.
    length: u64,
}

impl New {
    fn create(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(path);
        let file = file.with_context(|| format!("cannot write a recording to {}", path.display()))?;
        Ok(Self { path: path.to_owned(), file, length: 0 })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).with_context(|| self.cannot_write())?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Waits until it is kept for good. That can take long, so it holds up no other task.
    async fn sync(&self) -> io::Result<()> {
        let file = self.file.try_clone()?;
        spawn_blocking(move || file.sync_all()).await?
    }

    fn cannot_write(&self) -> String {
        format!("cannot write to {}", self.path.display())
    }
}

impl Drop for New {
    fn drop(&mut self) {
        if self.length == 0 {
            // An empty file is all that stays otherwise.
            let _ = remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;
    use crate::webm::Patch;

    /// A folder that is gone again with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("calls-recorder-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn files(&self) -> usize {
            fs::read_dir(&self.0).unwrap().count()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn finish(output: &mut Output) -> Result<()> {
        let patch = |offset, bytes: &[u8], of_end| Patch { offset, bytes: bytes.to_vec(), of_end };
        let finished = Finished {
            duration: Duration::from_secs(1),
            patches: vec![patch(0, b"END", true), patch(4, b"time", false)],
            speakers: "WEBVTT\n".into(),
            counters: crate::Counters::default(),
        };
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(output.finish(&finished))
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_empty_stays() {
        let folder = Folder::new("new");
        let path = folder.0.join("call.webm");
        let first = Output::create(&path).unwrap();
        let error = Output::create(&path).unwrap_err();
        assert!(format!("{error:#}").contains("cannot write a recording to"), "{error:#}");
        assert_eq!(folder.files(), 2, "a second try takes nothing away");
        drop(first);
        assert_eq!(folder.files(), 0);
        fs::write(folder.0.join("call.vtt"), "notes").unwrap();
        Output::create(&path).unwrap_err();
        assert_eq!(fs::read(folder.0.join("call.vtt")).unwrap(), b"notes");
        assert_eq!(folder.files(), 1);
    }

    #[test]
    fn a_recording_is_no_file_of_speakers() {
        for (path, is_fine) in [("a.webm", true), ("a", true), ("a.vtt", false), ("a.VTT", false), ("..", false)] {
            assert_eq!(Output::check(Path::new(path)).is_ok(), is_fine, "{path}");
        }
    }

    #[test]
    fn a_finished_file_knows_its_end() {
        let folder = Folder::new("whole");
        let path = folder.0.join("call.webm");
        let mut output = Output::create(&path).unwrap();
        output.write(b"head----tail").unwrap();
        finish(&mut output).unwrap();
        drop(output);
        assert_eq!(fs::read(&path).unwrap(), b"ENDdtimetail");
        assert_eq!(fs::read(path.with_extension("vtt")).unwrap(), b"WEBVTT\n");
    }

    #[test]
    fn on_a_full_disk_what_was_written_whole_is_finished() {
        let folder = Folder::new("full");
        let path = folder.0.join("call.webm");
        let mut output = Output::create(&path).unwrap();
        output.write(b"head----").unwrap();
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut file = std::mem::replace(&mut output.recording.file, full);
        let error = output.write(b"cluster").unwrap_err();
        assert!(format!("{error:#}").contains("No space left"), "{error:#}");
        file.write_all(b"clu").unwrap();
        output.recording.file = file;
        output.write(b"next").expect("nothing is written behind it");
        finish(&mut output).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"headtime", "neither the torn piece nor what only the end knows");
        assert_eq!(fs::read(path.with_extension("vtt")).unwrap(), b"WEBVTT\n");
    }
}
