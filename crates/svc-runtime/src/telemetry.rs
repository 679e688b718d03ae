//! Logs: to stderr, as text or JSON, panics included. Where traces are exported
//! from is here too once they are: another layer of the same registry.

use std::io::{self, IsTerminal};
use std::panic;

use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, fmt};

use crate::config::{LogFormat, RuntimeArgs};

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is none. `RuntimeArgs` from the command line was checked already.
    #[error("log level: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),

    /// Another part of the process was first.
    #[error("logging is set up already")]
    AlreadySet(#[from] TryInitError),
}

/// Starts logging and says which service this is, and its version.
///
/// # Errors
/// See [`TelemetryError`].
pub fn init(service_name: &str, args: &RuntimeArgs) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(&args.log_level)?;
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = match args.log_format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).try_init()?;
    log_panics();
    tracing::info!(
        service = service_name,
        version = env!("CARGO_PKG_VERSION"),
        pid = std::process::id(),
        "starting"
    );
    Ok(())
}

/// Makes a panic a log line like any other, instead of text between JSON lines.
fn log_panics() {
    panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let message = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("a value that is no text");
        let location = info.location().map(ToString::to_string);
        let backtrace = std::backtrace::Backtrace::capture();
        let backtrace = match backtrace.status() {
            std::backtrace::BacktraceStatus::Captured => Some(backtrace.to_string()),
            _ => None,
        };
        let thread = std::thread::current();
        tracing::error!(
            panic = message,
            location,
            thread = thread.name().unwrap_or("unnamed"),
            backtrace,
            "panicked"
        );
    }));
}
