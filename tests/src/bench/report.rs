//! The outcome: a table to read, and `target/bench/report.json` to compare runs with.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::load::{Figure, Measured};

/// One measured row.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// Calls in flight, or streams.
    pub in_flight: usize,
    /// The outcome.
    pub measured: Measured,
    /// What it is held against.
    pub expected: Option<Expected>,
}

/// A row's limit and how near to it the row should be, or what it should reach by itself.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Name and in flight of the row that is the limit.
    pub limit: Option<(String, usize)>,
    /// What is compared.
    pub bound: Bound,
    /// Name of another row with as many in flight that it is compared with, for a look at what is
    /// in the way.
    pub beside: Option<String>,
}

/// How a row compares with its limit.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// At least so many times the limit's rate.
    Rate(f64),
    /// At most so many times the limit's median latency.
    Median(f64),
    /// At least so many a second, whatever the limits are.
    PerSecond(f64),
    /// A median latency of at most so many microseconds, whatever the limits are.
    MedianUs(u64),
    /// A figure of at most so much.
    Most(f64),
}

/// A comparison with the limit.
struct Verdict {
    ratio: Option<f64>,
    wanted: String,
    reached: bool,
}

/// All rows of a run.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Adds a row.
    pub fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    fn find(&self, name: &str, in_flight: usize) -> Option<&Row> {
        let mut rows = self.rows.iter();
        rows.find(|row| row.name == name && row.in_flight == in_flight)
    }

    #[allow(clippy::cast_precision_loss, reason = "a ratio of latencies below hours")]
    fn verdict(&self, row: &Row) -> Option<Verdict> {
        let expected = row.expected.as_ref()?;
        let limit = || expected.limit.as_ref().and_then(|(name, n)| self.find(name, *n));
        let (ratio, wanted, near) = match expected.bound {
            Bound::Rate(least) => {
                let ratio = row.measured.per_second / limit()?.measured.per_second;
                (Some(ratio), format!(">= {least}"), ratio >= least)
            }
            Bound::Median(most) => {
                let ratio = row.measured.p50_us as f64 / limit()?.measured.p50_us as f64;
                (Some(ratio), format!("p50 <= {most}"), ratio <= most)
            }
            Bound::PerSecond(least) => {
                (None, format!(">= {least} per second"), row.measured.per_second >= least)
            }
            Bound::MedianUs(most) => {
                (None, format!("p50 <= {most} us"), row.measured.p50_us <= most)
            }
            Bound::Most(most) => {
                let figure = row.measured.figure?;
                (None, format!("<= {most} {}", figure.unit), figure.value <= most)
            }
        };
        Some(Verdict { ratio, wanted, reached: near && row.measured.errors == 0 })
    }

    /// The header of the table.
    #[must_use]
    pub fn header() -> String {
        format!(
            "{:<44} {:>9} {:>11} {:>9} {:>9} {:>7}  {}",
            "row", "in flight", "per second", "p50 us", "p99 us", "errors", "beside its limit"
        )
    }

    /// One line of the table.
    #[must_use]
    pub fn line(&self, row: &Row) -> String {
        let Measured { per_second, p50_us, p99_us, errors, .. } = row.measured;
        let mut line = match &row.measured.figure {
            Some(Figure { value, unit }) => {
                let found = format!("{value:.0} {unit}");
                format!("{:<44} {:>9} {found:>39}", row.name, row.in_flight)
            }
            None => format!(
                "{:<44} {:>9} {per_second:>11.0} {p50_us:>9} {p99_us:>9} {errors:>7}",
                row.name, row.in_flight
            ),
        };
        if let (Some(verdict), Some(expected)) = (self.verdict(row), &row.expected) {
            let judgement = if verdict.reached { "reached" } else { "NOT reached" };
            let beside = match (verdict.ratio, &expected.limit) {
                (Some(ratio), Some((name, n))) => format!("{ratio:.2} x {name} at {n} "),
                _ => String::new(),
            };
            // Writing to a string can't fail.
            let _ = write!(line, "  {beside}({}: {judgement})", verdict.wanted);
            if let Some((name, ratio)) = self.beside(row) {
                let _ = write!(line, "; {ratio:.2} x {name}");
            }
        }
        if let Some(processor) = &row.measured.processor {
            let us = |(name, cores): &(String, f64)| {
                format!("{name} {:.1} us", cores * 1e6 / row.measured.per_second)
            };
            let used: Vec<_> = processor.cores.iter().map(us).collect();
            let idle = processor.idle * 100.0;
            let _ = write!(line, "  [{}; idle {idle:.0} %", used.join(", "));
            let scripts = processor.scripts;
            if scripts.calls >= 1.0 {
                let (us, commands) = (scripts.us, scripts.commands_us);
                let _ = write!(
                    line,
                    "; {:.3} scripts of {:.1} us, {:.1} us of these in commands",
                    scripts.calls / per_second,
                    us / scripts.calls,
                    commands / scripts.calls
                );
            }
            line.push(']');
        }
        line
    }

    /// What else it is compared with, and how it compares.
    #[allow(clippy::cast_precision_loss, reason = "a ratio of latencies below hours")]
    fn beside<'a>(&self, row: &'a Row) -> Option<(&'a str, f64)> {
        let expected = row.expected.as_ref()?;
        let name = expected.beside.as_deref()?;
        let other = &self.find(name, row.in_flight)?.measured;
        let ratio = match expected.bound {
            Bound::Median(_) => row.measured.p50_us as f64 / other.p50_us as f64,
            _ => row.measured.per_second / other.per_second,
        };
        Some((name, ratio))
    }

    /// Writes all rows as JSON; answers where.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        let rows: Vec<Value> = self.rows.iter().map(|row| self.json(row)).collect();
        std::fs::create_dir_all(folder)?;
        let path = folder.join("report.json");
        std::fs::write(&path, serde_json::to_string_pretty(&rows)? + "\n")?;
        Ok(path)
    }

    fn json(&self, row: &Row) -> Value {
        let mut value = json!({
            "name": row.name,
            "in_flight": row.in_flight,
            "per_second": row.measured.per_second.round(),
            "p50_us": row.measured.p50_us,
            "p99_us": row.measured.p99_us,
            "errors": row.measured.errors,
        });
        if let Some(Figure { value: found, unit }) = row.measured.figure {
            value["value"] = json!(found.round());
            value["unit"] = json!(unit);
        }
        if let (Some(verdict), Some(expected)) = (self.verdict(row), &row.expected) {
            if let (Some(ratio), Some((name, n))) = (verdict.ratio, &expected.limit) {
                value["limit"] = json!({ "name": name, "in_flight": n });
                value["ratio"] = json!((ratio * 1000.0).round() / 1000.0);
            }
            value["expected"] = json!(verdict.wanted);
            value["reached"] = json!(verdict.reached);
        }
        if let Some((name, ratio)) = self.beside(row) {
            value["beside"] = json!({ "name": name, "ratio": (ratio * 1000.0).round() / 1000.0 });
        }
        if let Some(processor) = &row.measured.processor {
            let us = |cores: f64| (cores * 1e7 / row.measured.per_second).round() / 10.0;
            let used =
                processor.cores.iter().map(|(name, cores)| (name.clone(), json!(us(*cores))));
            value["processor_us"] = Value::Object(used.collect());
            value["idle"] = json!((processor.idle * 100.0).round() / 100.0);
            let scripts = processor.scripts;
            value["scripts"] = json!((scripts.calls / row.measured.per_second * 1e4).round() / 1e4);
            if scripts.calls >= 1.0 {
                let us = |all: f64| json!((all / scripts.calls * 10.0).round() / 10.0);
                value["script_us"] = us(scripts.us);
                value["script_commands_us"] = us(scripts.commands_us);
            }
        }
        value
    }
}
