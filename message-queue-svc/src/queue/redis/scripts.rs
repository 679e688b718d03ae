//! The Lua scripts, each in a file of its own behind what they share.

use std::sync::LazyLock;

use redis_link::Script;

/// A script of a queue, with the parts that it shares with some others. `#!lua`
/// alone: a full Redis refuses it before it writes; `allow-oom`: it frees more
/// than it takes, so it runs anyway.
///
/// What is rare in the scripts that are called most is between `rare_begin` and `rare_end`; the
/// common case of those that send is a part `…_plain`, in front of what the others need.
macro_rules! script {
    ($(#[$doc:meta])* $name:ident, $file:literal, $shebang:literal $(, $part:literal)*) => {
        $(#[$doc])*
        pub static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new($file, concat!(
                $shebang, "\n",
                include_str!("scripts/lib.lua"),
                $(include_str!(concat!("scripts/", $part, ".lua")),)*
                include_str!(concat!("scripts/", $file, ".lua")),
            ))
        });
    };
}

/// How many values `taking.lua` answers in front of what it leased.
pub const TAKEN_HEAD: usize = 6;

script!(/// Stores messages.
    SEND, "send", "#!lua", "plain", "send_plain", "rare_begin", "entries", "ordering", "remember", "ends", "rare_end", "sending");
script!(/// Leases messages.
    TAKE, "take", "#!lua flags=allow-oom", "due", "leasing", "rare_begin", "entries", "ordering", "remember", "ends", "rare_end", "taking");
script!(/// Stores messages and leases them.
    SEND_TAKE, "send_take", "#!lua", "due", "leasing", "plain", "send_take_plain", "rare_begin", "entries", "ordering", "remember", "ends", "rare_end", "sending", "taking");
script!(/// Gives back what was leased to nobody.
    UNTAKE, "untake", "#!lua flags=allow-oom", "entries", "ordering", "ends");
script!(/// Says that messages are done.
    ACK, "ack", "#!lua flags=allow-oom", "rare_begin", "entries", "ordering", "remember", "ends", "rare_end", "settling");
script!(/// Ends leases without an ack.
    GIVE_BACK, "give_back", "#!lua flags=allow-oom", "entries", "ordering", "ends");
script!(/// Gives leases more time.
    EXTEND, "extend", "#!lua flags=allow-oom");
script!(/// Answers senders.
    REPLY, "reply", "#!lua flags=allow-oom", "rare_begin", "entries", "ordering", "remember", "ends", "rare_end", "settling");
script!(/// Puts back what was handed off to nobody.
    UNHAND, "unhand", "#!lua flags=allow-oom");
script!(/// Upkeep.
    SWEEP, "sweep", "#!lua flags=allow-oom", "due", "entries", "ordering", "ends");
script!(/// Takes a message back.
    WITHDRAW, "withdraw", "#!lua flags=allow-oom", "entries", "ordering", "ends");
script!(/// Creates a queue.
    CREATE, "create", "#!lua");
script!(/// Changes a queue's settings.
    UPDATE, "update", "#!lua flags=allow-oom");
script!(/// Tells a queue's settings and figures.
    INFO, "info", "#!lua flags=no-writes");
script!(/// Says that a replica has no consumers.
    PRESENCE, "presence", "#!lua flags=allow-oom");
script!(/// Drops messages.
    PURGE, "purge", "#!lua flags=allow-oom", "entries", "ordering", "ends");
script!(/// Shows messages.
    PEEK, "peek", "#!lua flags=no-writes", "entries", "ordering");
script!(/// Lists dead letters.
    LIST_DEAD, "list_dead", "#!lua flags=no-writes");
script!(/// Makes dead letters messages again.
    REVIVE, "revive", "#!lua flags=allow-oom", "entries", "ordering", "ends");
script!(/// Drops dead letters.
    DELETE_DEAD, "delete_dead", "#!lua flags=allow-oom");
script!(/// Removes a queue.
    DELETE, "delete", "#!lua flags=allow-oom");

/// Looks for a reply; by itself, because it needs three keys only.
pub static GET_REPLY: LazyLock<Script> =
    LazyLock::new(|| Script::new("get_reply", include_str!("scripts/get_reply.lua")));
