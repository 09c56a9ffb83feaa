//! What somebody wants recorded, and what the file is called.

use std::time::Duration;

use jiff::Timestamp;
use livekit_protocol::RoomCompositeEgressRequest;
use sfu_core::call::Identity;
use thiserror::Error;

/// Longest name of a file, with its folders, in bytes; each component has at most 255 on Linux.
const MAX_NAME: usize = 1024;
const MAX_COMPONENT: usize = 255;
/// What is left of a call's name in a file's.
const MAX_CALL: usize = 100;
/// What a template may end in without it being more than how its author thinks of recordings: the file is always WebM.
const EXTENSIONS: [&str; 7] = ["webm", "mp4", "mkv", "ogg", "mp3", "m4a", "ts"];
const EXTENSION: &str = "webm";
const USUAL: &str = "{room_name}-{time}";

/// What is to be recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    pub call: String,
    pub by: By,
    pub audio_only: bool,
    pub name: FileName,
}

/// Who wants it.
#[derive(Debug, Clone, PartialEq)]
pub enum By {
    Host(Identity),
    /// Somebody with an API key, by this request.
    Api(Box<RoomCompositeEgressRequest>),
}

/// What a file is to be called: LiveKit's templates, `{room_name}`, `{room_id}`, `{time}` and `{utc}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileName(String);

/// Why a file cannot be called so.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameProblem {
    #[error("filepath is taken below the folder of recordings: it must not begin with / or contain ..")]
    Outside,
    #[error("filepath contains {{{0}}}: only {{room_name}}, {{room_id}}, {{time}} and {{utc}} are known here")]
    UnknownField(String),
    #[error("filepath has characters that no file's name may have")]
    Characters,
    #[error("filepath is too long: {MAX_NAME} bytes, and {MAX_COMPONENT} between two slashes, is the most")]
    TooLong,
}

impl Default for FileName {
    fn default() -> Self {
        Self(USUAL.into())
    }
}

impl FileName {
    /// Reads a template; an empty one, or one that names a folder, gets the usual name.
    pub fn read(template: &str) -> Result<Self, NameProblem> {
        let template = match template {
            "" => USUAL.to_owned(),
            folder if folder.ends_with('/') => format!("{folder}{USUAL}"),
            name => match name.rsplit_once('.') {
                Some((stem, extension)) if EXTENSIONS.contains(&extension) => stem.to_owned(),
                _ => name.to_owned(),
            },
        };
        let name = Self(template);
        // As long as it can become.
        let rendered = name.render(&"x".repeat(MAX_CALL), "RM_room", Duration::ZERO)?;
        if rendered.len() > MAX_NAME || rendered.split('/').any(|part| part.len() > MAX_COMPONENT) {
            return Err(NameProblem::TooLong);
        }
        if rendered.starts_with('/') || rendered.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(NameProblem::Outside);
        }
        if rendered.chars().any(|c| c.is_control() || c == '\\') {
            return Err(NameProblem::Characters);
        }
        Ok(name)
    }

    /// The file of a recording that begins now, below the folder of recordings.
    ///
    /// # Errors
    /// None if it has been [read](Self::read).
    pub fn render(&self, call: &str, room_id: &str, now: Duration) -> Result<String, NameProblem> {
        let now = i64::try_from(now.as_secs()).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        let now = now.unwrap_or(Timestamp::UNIX_EPOCH);
        let mut filled = String::new();
        let mut rest = self.0.as_str();
        while let Some((before, from_field)) = rest.split_once('{') {
            filled.push_str(before);
            let Some((field, after)) = from_field.split_once('}') else {
                return Err(NameProblem::UnknownField(from_field.to_owned()));
            };
            match field {
                "room_name" => filled.push_str(&plain(call)),
                "room_id" => filled.push_str(room_id),
                "time" => filled.push_str(&now.strftime("%Y-%m-%dT%H%M%S").to_string()),
                "utc" => filled.push_str(&now.strftime("%Y%m%d%H%M%S").to_string()),
                unknown => return Err(NameProblem::UnknownField(unknown.to_owned())),
            }
            rest = after;
        }
        filled.push_str(rest);
        Ok(format!("{filled}.{EXTENSION}"))
    }
}

/// A call's name as a part of a file's: people name calls as they like.
fn plain(call: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    let mut name: String = call.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    while name.len() > MAX_CALL {
        name.pop();
    }
    name
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-11-24, 03:20:05 UTC.
    const NOW: Duration = Duration::from_secs(1_795_490_405);

    fn named(template: &str) -> Result<String, NameProblem> {
        FileName::read(template)?.render("stand-up", "RM_1", NOW)
    }

    #[test]
    fn a_file_is_named_after_its_call_and_when_it_began() {
        assert_eq!(named("").unwrap(), "stand-up-2026-11-24T032005.webm");
        assert_eq!(named("{utc}/{room_id}").unwrap(), "20261124032005/RM_1.webm");
        assert_eq!(named("team/").unwrap(), "team/stand-up-2026-11-24T032005.webm");
    }

    #[test]
    fn a_file_is_webm_whatever_its_template_ends_in() {
        assert_eq!(named("out.mp4").unwrap(), "out.webm");
        assert_eq!(named("out.webm").unwrap(), "out.webm");
        assert_eq!(named("v1.2").unwrap(), "v1.2.webm");
    }

    #[test]
    fn a_file_stays_in_its_folder() {
        for outside in ["/etc/passwd", "../x", "a/../../x", "a//b", "./x", "a/./b"] {
            assert_eq!(named(outside), Err(NameProblem::Outside), "{outside}");
        }
        assert_eq!(named("{publisher_identity}"), Err(NameProblem::UnknownField("publisher_identity".into())));
        assert_eq!(named("{room_name"), Err(NameProblem::UnknownField("room_name".into())));
        assert_eq!(named("a\0b"), Err(NameProblem::Characters));
        assert_eq!(named(&"x".repeat(250)).unwrap().len(), 255);
        for long in ["x".repeat(251), "{room_name}".repeat(3), "x/".repeat(600)] {
            assert_eq!(named(&long), Err(NameProblem::TooLong), "{long}");
        }
    }

    proptest! {
        #[test]
        fn no_call_leads_out_of_the_folder(call in ".{1,300}", template in "[a-z{}_./]{0,40}") {
            let Ok(name) = FileName::read(&template) else { return Ok(()) };
            let file = name.render(&call, "RM_1", NOW).unwrap();
            prop_assert!(!file.starts_with('/'), "{file:?}");
            for part in file.split('/') {
                prop_assert!(!matches!(part, "" | "." | "..") && part.len() <= MAX_COMPONENT, "{file:?}");
            }
        }
    }
}
