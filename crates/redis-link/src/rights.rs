//! What the user at Redis must be allowed to do, asked for with each new connection: a user that
//! lacks a right would otherwise be found out by the one call that needs it.

use redis::{Cmd, Value};

use crate::values;

/// Asks which of some commands the user of this connection may not use. `acl_check_cmd` (Redis 7.0)
/// needs no right of its own, other than `ACL DRYRUN`. It raises an error for a command that this
/// Redis does not have, which nobody can be denied.
const ASK: &str = "#!lua flags=no-writes,allow-oom
local denied = {}
for _, line in ipairs(ARGV) do
  local words = {}
  for word in string.gmatch(line, '%S+') do words[#words + 1] = word end
  local known, may = pcall(redis.acl_check_cmd, unpack(words))
  if known and not may then denied[#denied + 1] = words[1] end
end
return denied";

/// What this crate itself uses for a service. WAIT and WAITAOF: after a write it would be too late
/// to be refused.
const COMMON: &[&str] = &[
    "ping",
    "eval 0 1 KEY",
    "evalsha 0 1 KEY",
    "script load return",
    "subscribe CHANNEL",
    "unsubscribe CHANNEL",
    "wait 0 1",
    "waitaof 0 0 1",
];

/// Commands that a service uses, and where.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rights {
    /// A key that the commands are asked about; nothing is done to it. Empty: nothing is asked.
    pub key: &'static str,
    /// A channel.
    pub channel: &'static str,
    /// Each command once, with as many arguments as it needs: `KEY` and `CHANNEL` stand for these.
    pub commands: &'static [&'static str],
}

impl Rights {
    /// The question, if there is one.
    pub(crate) fn question(&self) -> Option<Cmd> {
        if self.commands.is_empty() {
            return None;
        }
        let mut cmd = redis::cmd("EVAL");
        cmd.arg(ASK).arg(1).arg(self.key);
        for line in COMMON.iter().chain(self.commands) {
            cmd.arg(line.replace("KEY", self.key).replace("CHANNEL", self.channel));
        }
        Some(cmd)
    }

    /// The names of commands that the answer denies.
    pub(crate) fn denied(answer: Value) -> Vec<String> {
        let names = values::array(answer).unwrap_or_default();
        names.into_iter().filter_map(|name| values::text(name).ok()).collect()
    }
}
