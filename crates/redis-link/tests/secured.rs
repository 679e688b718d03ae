//! TLS and users, against a real Redis with both: what is right works over every kind of connection,
//! what is wrong is refused and named by its flag, and what changes is followed without a restart.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on has to fail")]

use std::{
    io::Write,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use redis_link::{
    Link, LinkError, Rights, Script, cmd,
    test_util::{
        PrivateRedis,
        secured::{PASSWORD, Secured},
    },
    values,
};
use tokio::time::timeout;
use tracing_subscriber::fmt::MakeWriter;

const LIMIT: Duration = Duration::from_secs(20);
const RIGHTS: Rights =
    Rights { key: "es:{a}:x", channel: "es:{a}:bell", commands: &["set KEY v", "get KEY"] };

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    async fn until(&self, part: &str) {
        let found = async {
            while !self.text().contains(part) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let found = timeout(LIMIT, found).await;
        assert!(found.is_ok(), "the log does not say {part}: {}", self.text());
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;
    fn make_writer(&self) -> Self {
        self.clone()
    }
}

fn logged() -> (Log, tracing::subscriber::DefaultGuard) {
    let log = Log::default();
    let lines = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    (log, tracing::subscriber::set_default(lines))
}

async fn until_ready(link: &Link, wanted: bool) {
    let mut ready = link.ready();
    timeout(LIMIT, ready.wait_for(|ready| *ready == wanted)).await.unwrap().unwrap();
}

/// Over a shared connection, one of the pool, and that of pub/sub.
async fn everything_works(link: &Link) {
    let script = Script::new("put", "#!lua\nreturn redis.call('SET', KEYS[1], ARGV[1])");
    let mut call = script.call(&["es:{a}:x"]);
    call.arg("1");
    link.invoke(&call).await.unwrap();
    let mut blocking = link.blocking().take(LIMIT).await.unwrap();
    let found = blocking.query(cmd("GET").arg("es:{a}:x")).await.unwrap();
    assert_eq!(values::int(&found).unwrap(), 1);
    let mut bell = link.bells().subscribe("es:{a}:bell");
    timeout(LIMIT, bell.rung()).await.unwrap();
    link.query(cmd("PUBLISH").arg("es:{a}:bell").arg("hello")).await.unwrap();
    while timeout(LIMIT, bell.recv()).await.unwrap().as_deref() != Some(b"hello") {}
}

#[tokio::test]
async fn tls_with_a_client_certificate_and_a_user_works() {
    let redis =
        PrivateRedis::start_secured(Secured { client_certificates: true, ..Secured::default() });
    let mut args = redis.secured_args();
    args.redis_cert = Some(redis.file("client.crt"));
    args.redis_key = Some(redis.file("client.key"));
    assert_eq!(args.problems(), []);
    let link = Link::start_with(&args, RIGHTS).unwrap();
    until_ready(&link, true).await;
    everything_works(&link).await;
}

#[tokio::test]
async fn what_is_wrong_is_named_by_its_flag_and_tried_again() {
    let asks = Secured { client_certificates: true, ..Secured::default() };
    let few = Secured { rules: Some("~es:* &es:* +@all -set -script"), ..Secured::default() };
    let no_script = Secured { rules: Some("~es:* &es:* +@all -eval"), ..Secured::default() };
    let (open, asking) =
        (PrivateRedis::start_secured(Secured::default()), PrivateRedis::start_secured(asks));
    let (few, no_script) =
        (PrivateRedis::start_secured(few), PrivateRedis::start_secured(no_script));
    std::fs::write(open.file("wrong"), "a-wrong-password").unwrap();
    let right = open.secured_args();
    let (mut ca, mut host, mut user, mut password, mut plain) =
        (right.clone(), right.clone(), right.clone(), right.clone(), right.clone());
    ca.redis_ca = Some(open.file("other-ca.crt"));
    host.redis_url = url(&open.url().replace("localhost", "127.0.0.1"));
    user.redis_username = Some("nobody".to_owned());
    password.redis_password_file = Some(open.file("wrong"));
    plain.redis_url = url(&format!("rediss://localhost:{}", open.port()));
    let mut bare = right.clone();
    bare.redis_url = url(&open.url().replace("rediss", "redis"));
    bare.redis_ca = None;
    let mut strange = asking.secured_args();
    strange.redis_cert = Some(asking.file("other.crt"));
    strange.redis_key = Some(asking.file("other.key"));
    let mut gone = right.clone();
    gone.redis_ca = Some(open.file("not-there"));
    let mut away = right.clone();
    away.redis_url = url("rediss://localhost:9");
    for (what, args, named) in [
        ("the CA", ca, "--redis-ca: has to hold the CA"),
        ("the host", host, "--redis-url: has to call redis by a name"),
        ("the user", user, "--redis-username, --redis-password-file"),
        ("the password", password, "--redis-username, --redis-password-file"),
        ("no TLS there", plain, "begin with rediss:// if it speaks TLS, else redis://"),
        ("TLS there", bare, "begin with rediss:// if it speaks TLS, else redis://"),
        ("no client certificate", asking.secured_args(), "--redis-cert, --redis-key"),
        ("a strange client certificate", strange, "--redis-cert, --redis-key"),
        ("few rights", few.secured_args(), "may not use script, set; --redis-username"),
        ("no scripts", no_script.secured_args(), "may not use eval; --redis-username"),
        ("a file that is gone", gone, "--redis-ca: cannot read"),
        ("nobody there", away, "--redis-url: has to be where redis is"),
    ] {
        let (log, _guard) = logged();
        let link = Link::start_with(&args, RIGHTS).unwrap();
        log.until(named).await;
        assert!(!*link.ready().borrow(), "{what}");
        let refused = link.query(&cmd("PING")).await.unwrap_err();
        assert!(matches!(refused, LinkError::Unavailable(_)), "{what}: {refused}");
        let text = log.text();
        assert!(!text.contains(PASSWORD) && !text.contains("a-wrong-password"), "{text}");
    }
}

fn url(text: &str) -> redis_link::RedisUrl {
    redis_link::RedisUrl::parse(text).unwrap()
}

#[tokio::test]
async fn a_new_password_is_read_when_a_connection_is_made() {
    let redis = PrivateRedis::start_secured(Secured::default());
    let link = Link::start_with(&redis.secured_args(), RIGHTS).unwrap();
    until_ready(&link, true).await;
    // As docs/operate.md says: both are right for a while.
    let set = |rule: &str| redis.cli(&["ACL", "SETUSER", "messaging", rule]);
    assert_eq!(set(">another-password"), "OK\n");
    std::fs::write(redis.file("password"), "another-password\n").unwrap();
    assert_eq!(set(&format!("<{PASSWORD}")), "OK\n");
    everything_works(&link).await;
    let before = *link.generation().borrow();
    let _ = redis.cli(&["CLIENT", "KILL", "USER", "messaging"]);
    let mut generation = link.generation();
    timeout(LIMIT, generation.wait_for(|now| *now >= before + 2)).await.unwrap().unwrap();
    everything_works(&link).await;
}

#[tokio::test]
async fn a_password_that_redis_does_not_know_yet_is_tried_until_it_does() {
    let (log, _guard) = logged();
    let redis = PrivateRedis::start_secured(Secured::default());
    std::fs::write(redis.file("password"), "another-password\n").unwrap();
    let link = Link::start_with(&redis.secured_args(), RIGHTS).unwrap();
    log.until("--redis-password-file").await;
    let _ = redis.cli(&["ACL", "SETUSER", "messaging", ">another-password"]);
    until_ready(&link, true).await;
    everything_works(&link).await;
}

#[tokio::test]
async fn rights_that_are_taken_away_make_it_not_ready_until_they_are_back() {
    let (log, _guard) = logged();
    let redis = PrivateRedis::start_secured(Secured::default());
    // One, or another that is up goes on.
    let args = redis_link::RedisArgs { redis_connections: 1, ..redis.secured_args() };
    let link = Link::start_with(&args, RIGHTS).unwrap();
    until_ready(&link, true).await;
    let _ = redis.cli(&["ACL", "SETUSER", "messaging", "-set"]);
    let refused = link.query(cmd("SET").arg("es:{a}:x").arg(1)).await.unwrap_err();
    assert!(matches!(refused, LinkError::Unavailable(_)), "{refused}");
    log.until("may not use set; --redis-username").await;
    until_ready(&link, false).await;
    let _ = redis.cli(&["ACL", "SETUSER", "messaging", "+set"]);
    until_ready(&link, true).await;
    everything_works(&link).await;
}

#[tokio::test]
async fn what_is_optional_may_be_forbidden() {
    let redis = PrivateRedis::start_secured(Secured {
        rules: Some("~es:* &es:* +@all -@admin -@dangerous"),
        ..Secured::default()
    });
    let link = Link::start_with(&redis.secured_args(), RIGHTS).unwrap();
    until_ready(&link, true).await;
    assert_eq!(link.query_if_allowed(cmd("CONFIG").arg("GET").arg("x")).await.unwrap(), None);
    assert_eq!(link.query_if_allowed(&cmd("NONE")).await.unwrap(), None);
    assert!(link.query_if_allowed(&cmd("PING")).await.unwrap().is_some());
    everything_works(&link).await;
}

#[test]
fn files_are_checked_all_at_once_and_their_content_is_not_told() {
    let redis = PrivateRedis::start_secured(Secured::default());
    let put = |name: &str, text: &str| std::fs::write(redis.file(name), text).unwrap();
    put("empty", "\n");
    put("secret.pem", "hidden-hidden");
    let mut args = redis.secured_args();
    args.redis_password_file = Some(redis.file("empty"));
    args.redis_ca = Some(redis.file("secret.pem"));
    args.redis_cert = Some(redis.file("client.crt"));
    args.redis_key = Some(redis.file("other.key"));
    let problems = args.problems();
    let flags: Vec<_> = problems.iter().map(|problem| problem.flag).collect();
    assert_eq!(flags, ["--redis-password-file", "--redis-ca", "--redis-key"]);
    let text = format!("{problems:?}");
    assert!(text.contains("it has to be --redis-cert's") && !text.contains("hidden"), "{text}");
}
