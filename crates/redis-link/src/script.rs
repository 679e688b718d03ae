//! Lua scripts: hashed once, called by hash, loaded when Redis has forgotten
//! them.

use std::sync::OnceLock;

use metrics::Histogram;
use redis::{Arg, Cmd, ToRedisArgs};

use crate::meter::Meter;

/// A script. Make it once, in a `LazyLock`.
///
/// Start the source with `#!lua`, so that a full Redis refuses it before it
/// wrote anything; with `#!lua flags=allow-oom` where it must run on a full
/// one; with `#!lua flags=no-writes` where it only reads (Redis 7.0).
pub struct Script {
    name: &'static str,
    source: String,
    hash: String,
    /// Taken with the first call: a recorder is there by then.
    round_trips: OnceLock<Histogram>,
}

impl Script {
    /// A script called `name` in logs and metrics.
    #[must_use]
    pub fn new(name: &'static str, source: &'static str) -> Self {
        let source = compact(source);
        let hash = redis::Script::new(&source).get_hash().to_owned();
        Self { name, source, hash, round_trips: OnceLock::new() }
    }

    /// Its name in logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn round_trips(&self) -> &Histogram {
        self.round_trips.get_or_init(|| Meter::of_script(self.name))
    }

    pub(crate) fn load(&self) -> Cmd {
        let mut cmd = Cmd::with_capacity(3, self.source.len() + 16);
        cmd.arg("SCRIPT").arg("LOAD").arg(&self.source);
        cmd
    }

    /// A call with these keys, all of them: Redis Cluster routes by them.
    #[must_use]
    pub fn call<K: ToRedisArgs>(&self, keys: &[K]) -> Call<'_> {
        self.call_sized(keys, 16, 1024)
    }

    /// As [`Script::call`], with room for so many arguments and bytes.
    #[must_use]
    pub fn call_sized<K: ToRedisArgs>(&self, keys: &[K], args: usize, bytes: usize) -> Call<'_> {
        self.build("EVALSHA", &self.hash, keys, args, bytes)
    }

    /// As [`Script::call_sized`], but its keys are still to be given: as many arguments, the first
    /// ones. For callers who make each where the last one was.
    #[must_use]
    pub fn call_for_keys(&self, keys: usize, args: usize, bytes: usize) -> Call<'_> {
        self.begin("EVALSHA", &self.hash, keys, args, bytes)
    }

    /// As [`Script::call_sized`], but with the script itself, so that Redis cannot have forgotten
    /// it: calls that must not overtake each other may then be under way together.
    #[must_use]
    pub fn call_whole<K: ToRedisArgs>(&self, keys: &[K], args: usize, bytes: usize) -> Call<'_> {
        self.build("EVAL", &self.source, keys, args, bytes + self.source.len())
    }

    fn build<K: ToRedisArgs>(
        &self,
        command: &str,
        script: &str,
        keys: &[K],
        args: usize,
        bytes: usize,
    ) -> Call<'_> {
        let mut call = self.begin(command, script, keys.len(), args, bytes);
        for key in keys {
            call.arg(key);
        }
        call
    }

    fn begin(
        &self,
        command: &str,
        script: &str,
        keys: usize,
        args: usize,
        bytes: usize,
    ) -> Call<'_> {
        let mut cmd = Cmd::with_capacity(3 + keys + args, 128 + keys * 48 + bytes);
        cmd.arg(command).arg(script).arg(keys);
        Call { script: self, cmd }
    }
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Script").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A script without its comments and indentation: what Redis hashes and keeps. (No script has a
/// text of several lines.)
fn compact(source: &str) -> String {
    let lines = source.lines().map(str::trim_start);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("--"));
    lines.fold(String::with_capacity(source.len()), |kept, line| kept + line + "\n")
}

/// One call of a script being put together; arguments are copied once, into
/// the command that is sent.
#[derive(Debug)]
pub struct Call<'s> {
    script: &'s Script,
    cmd: Cmd,
}

impl<'s> Call<'s> {
    /// Adds an argument: text, `&[u8]` (`&bytes[..]`), or a number.
    pub fn arg<T: ToRedisArgs>(&mut self, arg: T) -> &mut Self {
        self.cmd.arg(arg);
        self
    }

    pub(crate) fn script(&self) -> &'s Script {
        self.script
    }

    pub(crate) fn cmd(&self) -> &Cmd {
        &self.cmd
    }

    /// The same call with the source in place of its hash: Redis cannot have
    /// forgotten it.
    pub(crate) fn with_source(&self) -> Cmd {
        let mut cmd = Cmd::new();
        cmd.arg("EVAL").arg(&self.script.source);
        for arg in self.cmd.args_iter().skip(2) {
            if let Arg::Simple(arg) = arg {
                cmd.arg(arg);
            }
        }
        cmd
    }
}
