//! What is wrong with a request, gathered field by field, and the checks of what requests of all
//! services have: lists, numbers, durations, backoffs, pages.

use std::ops::RangeInclusive;
use std::time::Duration;

use tonic::Code;

use crate::rpc_error::{INVALID_ARGUMENT, RpcError};

/// Items of a list in a request at most.
pub const MAX_ITEMS: usize = 1_000;
/// The longest lease, wait before a retry, and delay of a nack.
pub const MAX_LEASE: Duration = Duration::from_secs(12 * 3_600);

/// Entries of a page that does not say how many.
const PAGE: usize = 100;
/// Entries of a page at most.
const MAX_PAGE: usize = 1_000;
/// Fields that are named at most. One request can have thousands of wrong ones, nobody reads them
/// all, and they travel as headers: a client cuts the connection when those are too long.
const NAMED: usize = 20;
/// How many of them the message says.
const SAID: usize = 5;

/// What is wrong with a request, gathered.
#[derive(Debug)]
pub struct Checks {
    domain: &'static str,
    reason: Option<&'static str>,
    violations: Vec<(String, String)>,
    more: usize,
}

/// What a request says of the waits before retries; what it does not say is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RetryBackoff {
    /// The first wait.
    pub initial: Option<Duration>,
    /// The longest wait.
    pub max: Option<Duration>,
    /// The growth from one wait to the next.
    pub multiplier: Option<f64>,
}

impl Checks {
    /// Of a request to a package, `eventstore.v1`.
    #[must_use]
    pub fn of(domain: &'static str) -> Self {
        Self { domain, reason: None, violations: Vec::new(), more: 0 }
    }

    /// Notes that a field is wrong.
    pub fn wrong(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.because(INVALID_ARGUMENT, field, description);
    }

    /// Notes it with a reason of its own, which counts if all that is wrong has the same.
    pub fn because(
        &mut self,
        reason: &'static str,
        field: impl Into<String>,
        description: impl Into<String>,
    ) {
        let same = self.reason.is_none_or(|known| known == reason);
        self.reason = Some(if same { reason } else { INVALID_ARGUMENT });
        if self.violations.len() < NAMED {
            self.violations.push((field.into(), description.into()));
        } else {
            self.more += 1;
        }
    }

    /// The value if nothing was wrong. A value is there when nothing was noted.
    ///
    /// # Errors
    /// What was wrong: the code is `INVALID_ARGUMENT`, and every field is named.
    pub fn done<T>(self, value: Option<T>) -> Result<T, RpcError> {
        match (self.reason, value) {
            (None, Some(value)) => Ok(value),
            (reason, _) => Err(self.error(reason.unwrap_or(INVALID_ARGUMENT))),
        }
    }

    fn error(self, reason: &'static str) -> RpcError {
        let said = self.violations.iter().take(SAID).map(|(field, what)| format!("{field} {what}"));
        let mut said: Vec<_> = said.collect();
        let unsaid = self.violations.len() - said.len() + self.more;
        if unsaid > 0 {
            said.push(format!("and {unsaid} more"));
        }
        let message = said.join("; ");
        let error = RpcError::new(Code::InvalidArgument, reason, self.domain, message);
        RpcError { violations: self.violations, ..error }
    }

    /// Whether a list has an allowed length.
    pub fn length(&mut self, field: &str, length: usize, most: usize) -> bool {
        if length == 0 {
            self.wrong(field, "must not be empty");
        } else if length > most {
            self.because("TOO_MANY_ITEMS", field, format!("has {length} entries; at most {most}"));
        }
        (1..=most).contains(&length)
    }

    /// A number in a range.
    pub fn number(
        &mut self,
        field: &str,
        value: Option<u32>,
        range: RangeInclusive<u32>,
    ) -> Option<u32> {
        let value = value?;
        if !range.contains(&value) {
            self.wrong(field, format!("must be {} to {}", range.start(), range.end()));
        }
        Some(value)
    }

    /// A duration in a range.
    pub fn duration(
        &mut self,
        field: &str,
        value: Option<prost_types::Duration>,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let value = value?;
        let seconds = u64::try_from(value.seconds).ok();
        let nanos = u32::try_from(value.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
        let duration = seconds.zip(nanos).map(|(seconds, nanos)| Duration::new(seconds, nanos));
        let right = duration.filter(|duration| range.contains(duration));
        if right.is_none() {
            let (least, most) = (shown(*range.start()), shown(*range.end()));
            self.wrong(field, format!("must be {least} to {most}"));
        }
        right
    }

    /// The parts of a backoff, each in its range; whether they fit each other is not asked.
    pub fn backoff(
        &mut self,
        field: &str,
        initial: Option<prost_types::Duration>,
        max: Option<prost_types::Duration>,
        multiplier: Option<f64>,
    ) -> RetryBackoff {
        let waits = Duration::ZERO..=MAX_LEASE;
        let initial = self.duration(&format!("{field}.initial"), initial, waits.clone());
        let max = self.duration(&format!("{field}.max"), max, waits);
        if multiplier.is_some_and(|growth| !(1.0..=10.0).contains(&growth)) {
            self.wrong(format!("{field}.multiplier"), "must be 1 to 10");
        }
        RetryBackoff { initial, max, multiplier }
    }

    /// How many entries a page has, by its `page_size`: whoever asks for more than there are on one
    /// gets a full one.
    pub fn page_size(&mut self, size: i32) -> usize {
        match usize::try_from(size) {
            Ok(0) => PAGE,
            Ok(size) => size.min(MAX_PAGE),
            Err(_) => {
                self.wrong("page_size", "must not be negative");
                PAGE
            }
        }
    }

    /// Where the page before ended, by its `page_token`; `None` for the first.
    pub fn page_token<T>(
        &mut self,
        token: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        if token.is_empty() {
            return None;
        }
        let after = read(token);
        if after.is_none() {
            self.wrong("page_token", "must be the next_page_token of the page before");
        }
        after
    }
}

/// A duration as the documentation has it: `12 h`.
fn shown(duration: Duration) -> String {
    let ms = duration.as_millis();
    let units = [(24 * 3_600_000, "days"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")];
    // One day is 24 h.
    let whole =
        |unit: &(u128, &str)| ms.is_multiple_of(unit.0) && (ms / unit.0 > 1 || unit.1 != "days");
    match units.iter().find(|unit| whole(unit)) {
        _ if ms == 0 => "0".to_owned(),
        Some((unit, name)) => format!("{} {name}", ms / unit),
        None => format!("{ms} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks() -> Checks {
        Checks::of("test.v1")
    }

    /// The fields that are wrong, and why.
    fn violations(checks: Checks) -> Vec<(String, String)> {
        checks.done(Some(())).map_or_else(|error| error.violations, |()| Vec::new())
    }

    #[test]
    fn a_reason_is_that_of_all_and_every_field_is_named() {
        assert_eq!(checks().done(Some(7)), Ok(7));
        let mut both = checks();
        both.because("INVALID_NAME", "queue", "must be a name");
        both.because("INVALID_NAME", "to_queue", "must be a name");
        assert_eq!(both.reason, Some("INVALID_NAME"));
        both.wrong("wait", "must be short");
        let error = both.done(Some(7)).unwrap_err();
        assert_eq!((error.code, error.reason), (Code::InvalidArgument, INVALID_ARGUMENT));
        assert_eq!(error.domain, "test.v1");
        assert_eq!(
            error.message,
            "queue must be a name; to_queue must be a name; wait must be short"
        );
        assert_eq!(error.violations.len(), 3);
    }

    #[test]
    fn an_error_stays_small_however_much_is_wrong() {
        let mut many = checks();
        for index in 0..1_000 {
            many.wrong(format!("events[{index}].type"), "must be 1 to 256 bytes");
        }
        let error = many.done(Some(())).unwrap_err();
        assert_eq!(error.violations.len(), NAMED);
        assert!(error.message.starts_with("events[0].type must"), "{}", error.message);
        assert!(error.message.ends_with("; and 995 more"), "{}", error.message);
    }

    #[test]
    fn lists_and_numbers_are_counted() {
        for (length, right) in [(0, false), (1, true), (3, true), (4, false)] {
            let mut of_list = checks();
            assert_eq!(of_list.length("list", length, 3), right);
            let error = of_list.done(Some(())).err().map(|error| error.reason);
            let expected =
                (!right).then_some(if length == 0 { INVALID_ARGUMENT } else { "TOO_MANY_ITEMS" });
            assert_eq!(error, expected, "{length}");
        }
        for (number, right) in [(None, true), (Some(0), false), (Some(1), true), (Some(8), false)] {
            let mut of_number = checks();
            assert_eq!(of_number.number("n", number, 1..=7), number);
            assert_eq!(of_number.done(Some(())).is_ok(), right, "{number:?}");
        }
    }

    #[test]
    fn a_duration_is_one_and_in_its_range() {
        let range = Duration::from_millis(1)..=MAX_LEASE;
        let of = |seconds, nanos| {
            let mut checks = checks();
            let value = Some(prost_types::Duration { seconds, nanos });
            (checks.duration("wait", value, range.clone()), violations(checks))
        };
        assert_eq!(of(0, 1_000_000), (Some(Duration::from_millis(1)), vec![]));
        assert_eq!(of(12 * 3_600, 0), (Some(MAX_LEASE), vec![]));
        let wrong = vec![("wait".to_owned(), "must be 1 ms to 12 h".to_owned())];
        let never = [(0, 999_999), (12 * 3_600, 1), (-1, 0), (1, -1), (1, 1_000_000_000)];
        for (seconds, nanos) in never.into_iter().chain([(i64::MAX, 0), (i64::MIN, i32::MIN)]) {
            assert_eq!(of(seconds, nanos), (None, wrong.clone()), "{seconds} s {nanos} ns");
        }
        assert_eq!(checks().duration("wait", None, range.clone()), None);
    }

    #[test]
    fn durations_are_shown_as_documented() {
        let shown_s = |seconds| shown(Duration::from_secs(seconds));
        let all = [0, 1, 90, 300, 12 * 3_600, 86_400, 90 * 86_400].map(shown_s);
        assert_eq!(all, ["0", "1 s", "90 s", "5 min", "12 h", "24 h", "90 days"]);
        assert_eq!(shown(Duration::from_millis(1_500)), "1500 ms");
    }

    #[test]
    fn each_part_of_a_backoff_is_checked() {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let mut right = checks();
        let backoff = right.backoff("b", seconds(0), seconds(12 * 3_600), Some(10.0));
        assert_eq!(backoff.initial, Some(Duration::ZERO));
        assert_eq!((backoff.max, backoff.multiplier), (Some(MAX_LEASE), Some(10.0)));
        assert_eq!(right.backoff("b", None, None, None), RetryBackoff::default());
        assert_eq!(violations(right), []);
        for multiplier in [0.9, 10.1, f64::NAN, f64::INFINITY] {
            let mut wrong = checks();
            wrong.backoff("b", seconds(-1), seconds(12 * 3_600 + 1), Some(multiplier));
            let fields: Vec<_> = violations(wrong).into_iter().map(|(field, _)| field).collect();
            assert_eq!(fields, ["b.initial", "b.max", "b.multiplier"]);
        }
    }

    #[test]
    fn pages_have_a_hundred_entries_unless_asked_and_a_thousand_at_most() {
        for (asked, size) in [(0, 100), (1, 1), (1_000, 1_000), (1_001, 1_000), (i32::MAX, 1_000)] {
            let mut right = checks();
            assert_eq!(right.page_size(asked), size);
            assert_eq!(violations(right), []);
        }
        let mut negative = checks();
        negative.page_size(-1);
        assert_eq!(violations(negative)[0].0, "page_size");
        let mut tokens = checks();
        let read = |text: &str| text.parse::<u64>().ok();
        assert_eq!((tokens.page_token("", read), tokens.page_token("7", read)), (None, Some(7)));
        assert_eq!(tokens.page_token("x", read), None);
        assert_eq!(violations(tokens)[0].0, "page_token");
    }
}
