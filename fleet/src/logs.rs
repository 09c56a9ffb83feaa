//! Logs as all programs of the product write them: to standard error, for people or as JSON, filtered.

use std::io::IsTerminal as _;

use clap::{Args, ValueEnum};
use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, ParseError};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

/// Options of a program that logs.
#[derive(Clone, Debug, Args)]
pub struct LogArgs {
    /// How logs are written to standard error.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text, help_heading = "Logs")]
    pub log_format: LogFormat,

    /// What is logged: a level, or levels by module, as "debug" or "warn,kube=debug".
    #[arg(
        long,
        env = "RUST_LOG",
        value_name = "FILTER",
        default_value = "info",
        value_parser = checked,
        help_heading = "Logs"
    )]
    pub log: String,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people, in colours on a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogArgs {
    /// Writes the process's logs from now on.
    ///
    /// # Errors
    /// If the filter is none.
    pub fn start(&self) -> Result<(), ParseError> {
        tracing_subscriber::registry().with(self.layer()?).init();
        Ok(())
    }

    /// What writes the logs, to be put beside other layers. It has its own filter: what is logged does not decide what
    /// they see.
    ///
    /// # Errors
    /// If the filter is none.
    pub fn layer<S>(&self) -> Result<impl Layer<S> + use<S>, ParseError>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let filter = EnvFilter::try_new(&self.log)?;
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        let lines = match self.log_format {
            LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
        };
        Ok(lines.with_filter(filter))
    }
}

/// A word alone would name a module and silence everything else, which is seldom meant.
fn checked(filter: &str) -> Result<String, String> {
    let is_level = |word: &str| word.parse::<LevelFilter>().is_ok();
    if let Some(word) = filter.split(',').find(|part| part.chars().all(char::is_alphabetic) && !is_level(part)) {
        return Err(format!("{word:?} is no level: use off, error, warn, info, debug or trace, or MODULE=LEVEL"));
    }
    EnvFilter::try_new(filter).map(|_| filter.to_owned()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};
    use tracing_subscriber::Registry;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        logs: LogArgs,
    }

    #[test]
    fn a_filter_that_is_none_is_refused_at_once() {
        Program::command().debug_assert();
        for filter in ["info", "off", "warn,calls_sfu::control=debug"] {
            let program = Program::try_parse_from(["program", "--log", filter]).ok().unwrap();
            assert!(program.logs.layer::<Registry>().is_ok(), "{filter}");
        }
        for filter in ["calls_sfu=loud", "verbose", "info,verbose"] {
            assert!(Program::try_parse_from(["program", "--log", filter]).is_err(), "{filter}");
        }
    }
}
