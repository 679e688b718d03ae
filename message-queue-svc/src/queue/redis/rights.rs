//! What the user at Redis has to be allowed to do: every command of the scripts and of this code.

use redis_link::Rights;

/// Asked for with each new connection, and by `--check`. `deploy/` gives it to the services' user.
pub const RIGHTS: Rights = Rights {
    key: "mq:{acl}:key",
    channel: "mq:{acl}:bell",
    commands: &[
        "brpoplpush KEY KEY 1",
        "exists KEY",
        "get KEY",
        "hdel KEY f",
        "hexists KEY f",
        "hget KEY f",
        "hgetall KEY",
        "hincrby KEY f 1",
        "hkeys KEY",
        "hlen KEY",
        "hmget KEY f",
        "hset KEY f v",
        "hsetnx KEY f v",
        "lindex KEY 0",
        "llen KEY",
        "lpop KEY",
        "lpush KEY v",
        "lrange KEY 0 1",
        "pexpire KEY 1",
        "publish CHANNEL m",
        "rpop KEY",
        "rpush KEY v",
        "set KEY v",
        "time",
        "unlink KEY",
        "zadd KEY 1 v",
        "zcard KEY",
        "zcount KEY 0 1",
        "zrange KEY 0 1",
        "zrangebylex KEY - +",
        "zrem KEY v",
        "zremrangebylex KEY - +",
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
