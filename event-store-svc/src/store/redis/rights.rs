//! What the user at Redis has to be allowed to do: every command of the scripts and of this code.

use redis_link::Rights;

/// Asked for with each new connection, and by `--check`. `deploy/` gives it to the services' user.
pub const RIGHTS: Rights = Rights {
    key: "es:{acl}:key",
    channel: "es:{acl}:bell",
    commands: &[
        "exists KEY",
        "hdel KEY f",
        "hget KEY f",
        "hgetall KEY",
        "hincrby KEY f 1",
        "hlen KEY",
        "hmget KEY f",
        "hrandfield KEY",
        "hscan KEY 0",
        "hset KEY f v",
        "hsetnx KEY f v",
        "hvals KEY",
        "llen KEY",
        "lpop KEY",
        "lrange KEY 0 1",
        "pexpire KEY 1",
        "publish CHANNEL m",
        "rpush KEY v",
        "sadd KEY v",
        "set KEY v",
        "smembers KEY",
        "srem KEY v",
        "time",
        "unlink KEY",
        "xack KEY g 1-1",
        "xadd KEY 1-1 f v",
        "xclaim KEY g c 0 1-1",
        "xgroup create KEY g 0",
        "xgroup delconsumer KEY g c",
        "xgroup destroy KEY g",
        "xinfo consumers KEY g",
        "xlen KEY",
        "xpending KEY g",
        "xrange KEY - +",
        "xreadgroup group g c streams KEY >",
        "xrevrange KEY + -",
        "xtrim KEY minid 1-1",
        "zadd KEY 1 v",
        "zcard KEY",
        "zcount KEY 0 1",
        "zmscore KEY v",
        "zrange KEY 0 1",
        "zrangebylex KEY - +",
        "zrangebyscore KEY 0 1",
        "zrem KEY v",
        "zscore KEY v",
    ],
};

#[cfg(test)]
mod tests {
    use std::path::Path;

    use redis_link::test_util::commands::assert_all_asked_for;

    use super::*;

    #[test]
    fn every_command_that_is_used_is_asked_for() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        assert_all_asked_for(&RIGHTS, &source);
    }
}
