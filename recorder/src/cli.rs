//! The command line of `calls-recorder`.

use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;
use std::time::Duration;

use calls_client::signal::ApiKey;
use clap::{Args, Parser, Subcommand};
use fleet::logs::LogArgs;

use crate::record::Job;

/// Records calls: joins as a hidden participant, receives what is published, and writes one file that plays.
#[derive(Debug, Parser)]
#[command(name = "calls-recorder", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Record a call to a file.
    ///
    /// Of a server on this machine (calls-sfu serve --dev):
    ///   calls-recorder record standup --output standup.webm
    ///
    /// Everybody in the call sees that it is being recorded. The recording ends with the call, at its longest duration,
    /// or when told to stop (Ctrl-C); the file is whole then. Also what was written before a crash plays.
    #[command(verbatim_doc_comment)]
    Record(Box<RecordArgs>),
}

#[derive(Debug, Args)]
pub struct RecordArgs {
    /// Name of the call, which LiveKit's tools call a room.
    pub call: String,

    /// WebM file to write. Neither it nor the .vtt beside it must be there yet.
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,

    /// Server to join, ws://HOST:PORT.
    #[arg(long, env = "LIVEKIT_URL", default_value = "ws://127.0.0.1:7880")]
    pub url: String,

    /// API key of the server.
    #[arg(long, env = "LIVEKIT_API_KEY", default_value = "devkey", value_name = "KEY")]
    pub api_key: String,

    /// Secret of the API key. Everybody on this machine can read a command line: rather set the variable.
    #[arg(long, env = "LIVEKIT_API_SECRET", default_value = "secret", value_name = "SECRET", hide_env_values = true)]
    pub api_secret: Secret,

    /// Only voices and the sound of shared screens: a file without a picture.
    #[arg(long)]
    pub audio_only: bool,

    /// Longest recording, in minutes.
    #[arg(long, default_value_t = 60, value_name = "MINUTES", value_parser = clap::value_parser!(u64).range(1..=24 * 60))]
    pub max_duration: u64,

    #[command(flatten)]
    pub logs: LogArgs,
}

/// What is not to be printed.
#[derive(Clone)]
pub struct Secret(String);

impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Self(secret)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl RecordArgs {
    pub fn job(&self) -> Job {
        Job {
            url: self.url.clone(),
            key: ApiKey { key: self.api_key.clone(), secret: self.api_secret.0.clone() },
            call: self.call.clone(),
            identity: identity(),
            output: self.output.clone(),
            audio_only: self.audio_only,
            limit: Duration::from_mins(self.max_duration),
        }
    }
}

/// Another one for each process. Process ids are not enough: in containers they are all alike.
fn identity() -> String {
    // The standard library has no other chance than the keys of its hash tables.
    format!("recorder-{:016x}", RandomState::new().hash_one(std::process::id()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_secret_is_not_printed() {
        let arguments = ["calls-recorder", "record", "standup", "-o", "a.webm", "--api-secret", "hidden"];
        let cli = Cli::try_parse_from(arguments).expect("understood");
        assert!(!format!("{cli:?}").contains("hidden"), "{cli:?}");
        let Command::Record(args) = cli.command;
        assert_eq!(args.job().key.secret, "hidden");
        assert!(!format!("{:?}", args.job()).contains("hidden"));
    }

    #[test]
    fn two_recorders_of_a_call_have_two_identities() {
        assert_ne!(identity(), identity());
    }
}
