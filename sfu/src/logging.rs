//! Where logs go and how they look.

use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;

/// Info and above, unless `RUST_LOG` says otherwise. Libraries only when they warn.
const DEFAULT: &str = "warn,calls_sfu=info,sfu_core=info";

pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
}
