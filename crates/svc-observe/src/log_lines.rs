//! Log lines that name the trace they belong to, as text and as JSON.

use std::fmt;

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Json, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// A format, with `trace_id` and `span_id` added where there are any.
#[derive(Debug)]
pub(crate) struct WithTrace<F>(pub F);

/// Adds the ids to a finished line.
pub(crate) trait AddIds {
    fn add_ids(line: &mut String, context: &SpanContext);
}

impl AddIds for Format<Full> {
    fn add_ids(line: &mut String, context: &SpanContext) {
        line.truncate(line.strip_suffix('\n').unwrap_or(line).len());
        let (trace, span) = (context.trace_id(), context.span_id());
        line.push_str(&format!(" trace_id={trace} span_id={span}\n"));
    }
}

impl AddIds for Format<Json> {
    fn add_ids(line: &mut String, context: &SpanContext) {
        line.truncate(line.strip_suffix("}\n").unwrap_or(line).len());
        let (trace, span) = (context.trace_id(), context.span_id());
        line.push_str(&format!(",\"trace_id\":\"{trace}\",\"span_id\":\"{span}\"}}\n"));
    }
}

impl<F, S, N> FormatEvent<S, N> for WithTrace<F>
where
    F: FormatEvent<S, N> + AddIds,
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let current = Context::map_current(|cx| {
            cx.has_active_span().then(|| cx.span().span_context().clone())
        });
        let Some(context) = current.filter(SpanContext::is_valid) else {
            return self.0.format_event(ctx, writer, event);
        };
        let mut line = String::with_capacity(256);
        self.0.format_event(ctx, Writer::new(&mut line), event)?;
        F::add_ids(&mut line, &context);
        writer.write_str(&line)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use opentelemetry::trace::{Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
    use serde_json::Value;
    use tracing_subscriber::fmt::format::{DefaultFields, JsonFields};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn tracer() -> SdkTracer {
        SdkTracerProvider::builder().build().tracer("test")
    }

    /// Two lines: one outside of a trace, one within, in two spans of `tracing`.
    fn written<F, N>(format: F, fields: N) -> (Vec<String>, SpanContext)
    where
        F: FormatEvent<tracing_subscriber::Registry, N> + Send + Sync + 'static,
        N: for<'a> FormatFields<'a> + Send + Sync + 'static,
    {
        let lines = Lines::default();
        let out = lines.clone();
        let layer = tracing_subscriber::fmt::layer()
            .fmt_fields(fields)
            .event_format(format)
            .with_writer(move || out.clone());
        let context =
            tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
                tracing::info!(number = 1, "outside");
                let cx = Context::new().with_span(tracer().start("work"));
                let _attached = cx.clone().attach();
                let _outer = tracing::info_span!("outer", a = "}").entered();
                let _inner = tracing::info_span!("inner", b = 2).entered();
                tracing::info!(text = "a } and a\nline", "within");
                cx.span().span_context().clone()
            });
        let bytes = lines.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.ends_with('\n'));
        (text.lines().map(str::to_owned).collect(), context)
    }

    #[test]
    fn text_lines_end_with_the_ids() {
        let format = tracing_subscriber::fmt::format().with_ansi(false);
        let (lines, context) = written(WithTrace(format), DefaultFields::new());
        let ids = format!(" trace_id={} span_id={}", context.trace_id(), context.span_id());
        assert!(lines[0].ends_with("outside number=1"), "{lines:?}");
        assert!(lines.last().unwrap().ends_with(&ids), "{lines:?}");
    }

    #[test]
    fn json_lines_have_them_as_fields() {
        let format = tracing_subscriber::fmt::format().json().flatten_event(true);
        let (lines, context) = written(WithTrace(format), JsonFields::new());
        let lines: Vec<Value> =
            lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["message"], "outside");
        assert_eq!(lines[0].get("trace_id"), None);
        assert_eq!(lines[1]["trace_id"], context.trace_id().to_string());
        assert_eq!(lines[1]["span_id"], context.span_id().to_string());
        assert_eq!(lines[1]["text"], "a } and a\nline");
        assert_eq!(lines[1]["span"]["name"], "inner");
    }
}
