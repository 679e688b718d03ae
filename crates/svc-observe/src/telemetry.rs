//! Logs to stderr, as text or JSON, panics included, and traces over OTLP where they are asked for.
//! Log lines written within a trace name it.

use std::io::{self, IsTerminal};
use std::panic;

use svc_runtime::config::{LogFormat, RuntimeArgs};
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, fmt};

use crate::Service;
use crate::args::TraceArgs;
use crate::log_lines::WithTrace;
use crate::trace::{self, TraceError, Traces};

/// Why logs or traces could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is none. `RuntimeArgs` from the command line was checked already.
    #[error("log level: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),

    /// Another part of the process was first.
    #[error("logging is set up already")]
    AlreadySet(#[from] TryInitError),

    /// The exporter could not be made.
    #[error(transparent)]
    Trace(#[from] TraceError),
}

/// Traces as long as it is kept.
#[derive(Debug)]
#[must_use = "without `finish` the last spans are lost"]
pub struct Guard {
    traces: Option<Traces>,
}

impl Guard {
    /// Sends the spans that were not sent yet; takes [`trace::FLUSH_LIMIT`] at most. The last thing
    /// that a service does.
    pub async fn finish(self) {
        if let Some(traces) = self.traces {
            traces.finish().await;
        }
    }
}

/// Starts logging, and traces if they are asked for, and says which service this is. Must be called
/// within a multi-threaded Tokio runtime if there are to be traces.
///
/// # Errors
/// See [`TelemetryError`].
pub fn init(
    service: Service,
    args: &RuntimeArgs,
    trace: &TraceArgs,
) -> Result<Guard, TelemetryError> {
    let filter = EnvFilter::try_new(&args.log_level)?;
    let traces = Traces::start(service, trace)?;
    match &traces {
        // A filter for all is quicker than one for each.
        None => tracing_subscriber::registry().with(filter).with(lines(args)).try_init()?,
        Some(traces) => {
            let spans = tracing_opentelemetry::layer()
                .with_tracer(traces.tracer())
                .with_location(false)
                .with_threads(false)
                .with_tracked_inactivity(false)
                .with_filter(
                    // Not those of libraries, which have theirs below.
                    FilterFn::new(|metadata| {
                        metadata.is_span() && *metadata.level() <= LevelFilter::INFO
                    })
                    .with_max_level_hint(LevelFilter::INFO),
                );
            tracing_subscriber::registry()
                .with(lines(args).with_filter(filter))
                .with(spans)
                .try_init()?;
            trace::set_spans(traces.spans());
        }
    }
    log_panics();
    tracing::info!(
        service = service.name,
        version = service.version,
        pid = std::process::id(),
        traces = trace.otlp_endpoint,
        "starting"
    );
    Ok(Guard { traces })
}

fn lines<S>(args: &RuntimeArgs) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    match args.log_format {
        LogFormat::Text => {
            let ansi = io::stderr().is_terminal();
            let format = fmt::format().with_ansi(ansi);
            fmt::layer()
                .with_ansi(ansi)
                .with_writer(io::stderr)
                .event_format(WithTrace(format))
                .boxed()
        }
        LogFormat::Json => {
            let format = fmt::format().json().flatten_event(true);
            fmt::layer().json().with_writer(io::stderr).event_format(WithTrace(format)).boxed()
        }
    }
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
