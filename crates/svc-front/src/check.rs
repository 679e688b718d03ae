//! `--check`: what is in force, whether every file is right, and whether Redis can be used and is set
//! up as it should be. No port is bound, nothing is written.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use redis_link::{Need, Probe};

use crate::FrontArgs;
use crate::front::{Package, checked};
use crate::given::{Given, InForce};

/// The most that a column is made wide for.
const WIDEST: usize = 44;

/// What a check found.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    text: String,
    wrong: usize,
}

impl Checked {
    /// Tells it, and the code to end with: 0 if nothing is wrong.
    pub(crate) fn tell(&self) -> ExitCode {
        // Whoever does not listen still gets the code.
        let _ = io::stdout().write_all(self.text.as_bytes());
        if self.wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn line(&mut self, label: &str, what: &str) {
        self.text.push_str(format!("{label:<18} {what}").trim_end());
        self.text.push('\n');
    }

    fn wrong(&mut self, what: &str) {
        for line in what.lines() {
            self.line("wrong", line);
            self.wrong += 1;
        }
    }
}

/// Checks the configuration of a service.
pub(crate) async fn check(given: &Given, args: &FrontArgs, package: &Package) -> Checked {
    let mut checked_all = Checked { text: given.program() + "\n\n", wrong: 0 };
    table(&mut checked_all.text, &given.in_force());
    checked_all.text.push('\n');
    let (security, problems) = checked(args, package.name).await;
    drop(security);
    for problem in &problems {
        checked_all.wrong(problem);
    }
    if problems.is_empty() {
        checked_all.line("flags and files", "right");
    }
    if args.redis.problems().is_empty() {
        match Probe::look(&args.redis, package.rights).await {
            Ok(probe) => tell_redis(&mut checked_all, &probe, args, package),
            Err(error) => {
                checked_all.line("redis", &format!("{}: cannot be used", args.redis.place()));
                let detail = error.detail();
                let flag = if detail.contains("--redis-") { "" } else { "--redis-url: " };
                checked_all.wrong(&format!("{flag}{detail}"));
            }
        }
    } else {
        checked_all.line("redis", "not asked: its flags are wrong");
    }
    let sum = match checked_all.wrong {
        0 => "all is well\n".to_owned(),
        1 => "1 thing is wrong\n".to_owned(),
        count => format!("{count} things are wrong\n"),
    };
    checked_all.text.push('\n');
    checked_all.text.push_str(&sum);
    checked_all
}

fn table(text: &mut String, flags: &[InForce]) {
    let widest = |of: fn(&InForce) -> &String| {
        flags.iter().map(|flag| of(flag).len()).max().unwrap_or_default().min(WIDEST)
    };
    let (first, second) = (widest(|flag| &flag.flag), widest(|flag| &flag.value));
    for InForce { flag, value, origin } in flags {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{flag:<first$}  {value:<second$}  {origin}");
    }
}

fn tell_redis(told: &mut Checked, probe: &Probe, args: &FrontArgs, package: &Package) {
    let place = args.redis.place();
    let server = probe.server.as_deref().unwrap_or("a server that does not say what it is");
    let user = args.redis.redis_username.as_deref();
    let user = user.map(|name| format!(", as {name}")).unwrap_or_default();
    told.line("redis", &format!("{server} at {place}{user}"));
    told.line("round trip", &format!("{:.2} ms", probe.round_trip.as_secs_f64() * 1_000.0));
    let rights = package.rights.commands.len();
    told.line("rights", &format!("all of the {rights} commands that are needed"));
    let file = match (probe.append_only, probe.fsync_policy.as_deref()) {
        (Some(false), _) => "off".to_owned(),
        (Some(true), Some(policy)) => format!("on, fsync {policy}"),
        (Some(true), None) => "on".to_owned(),
        (None, _) => "not told".to_owned(),
    };
    told.line("append-only file", &file);
    told.line("durability", &durability(probe, args.redis.redis_min_replicas));
    let eviction = probe.eviction.as_deref().unwrap_or("not told");
    let limit = match probe.max_memory {
        Some(0) => "no limit".to_owned(),
        Some(bytes) => format!("{bytes} bytes"),
        None => "limit not told".to_owned(),
    };
    told.line("maxmemory", &format!("{limit}, policy {eviction}"));
    if probe.append_only == Some(false) {
        let what = "redis keeps nothing over a restart: set appendonly yes";
        told.line("warning", what);
    }
    if probe.eviction.as_deref().is_some_and(|policy| policy != "noeviction") {
        let what = "redis may drop events and messages: set maxmemory-policy noeviction";
        told.line("warning", what);
    }
    if args.redis.redis_min_replicas > 0 && probe.replicated == Need::Unavailable {
        told.wrong("--redis-min-replicas: is more than redis has connected replicas");
    }
}

fn durability(probe: &Probe, replicas: u16) -> String {
    let fsynced = match probe.fsynced {
        Need::Answer => "fsynced (with every answer)",
        Need::Wait => "fsynced (on request)",
        Need::Unavailable => "not fsynced",
    };
    let replicated = match probe.replicated {
        Need::Unavailable => "not replicated".to_owned(),
        Need::Answer | Need::Wait => format!("replicated (to {replicas})"),
    };
    format!("memory, {fsynced}, {replicated}")
}
