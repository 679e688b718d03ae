//! Prometheus' text format, for what the recorder does not hold: counters of bounded names and
//! gauges of a scrape.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>

use std::fmt::Write as _;

use super::catalog::Described;

/// A text that grows.
#[derive(Debug)]
pub(super) struct Text {
    out: String,
}

impl Text {
    /// Begins after what was written by the recorder.
    pub fn new(out: String) -> Self {
        Self { out }
    }

    /// Says what the samples that follow are.
    pub fn family(&mut self, metric: &Described) {
        let Described { name, help, kind, .. } = metric;
        // A String takes everything.
        let _ = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {}", kind.as_str());
    }

    /// A value of the metric.
    pub fn sample(&mut self, metric: &Described, values: &[&str], value: f64) {
        self.out.push_str(metric.name);
        let mut separator = '{';
        for (label, value) in metric.labels.iter().zip(values) {
            let _ = write!(self.out, "{separator}{label}=\"");
            escape(value, &mut self.out);
            self.out.push('"');
            separator = ',';
        }
        if separator == ',' {
            self.out.push('}');
        }
        let _ = match value {
            f64::INFINITY => writeln!(self.out, " +Inf"),
            f64::NEG_INFINITY => writeln!(self.out, " -Inf"),
            // Display of f64 never uses an exponent, and whole numbers have no point.
            value => writeln!(self.out, " {value}"),
        };
    }

    /// Ends a family.
    pub fn end(&mut self) {
        self.out.push('\n');
    }

    pub fn finish(self) -> String {
        self.out
    }
}

fn escape(value: &str, out: &mut String) {
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalog::collected::{GROUP_LAG_EVENTS, REDIS_UP};
    use super::*;

    #[test]
    fn labels_and_values_are_written_as_the_format_wants() {
        let mut text = Text::new(String::new());
        text.sample(&GROUP_LAG_EVENTS, &["or\"der", "a\\b\nc"], 3.0);
        text.sample(&REDIS_UP, &[], f64::INFINITY);
        text.sample(&REDIS_UP, &[], 0.25);
        assert_eq!(
            text.finish(),
            "eventstore_group_lag_events{topic=\"or\\\"der\",group=\"a\\\\b\\nc\"} 3\n\
             redis_up +Inf\nredis_up 0.25\n"
        );
    }
}
