//! The services as programs, with security as flags say, and clients for them.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proto::eventstore::v1::event_store_client::EventStoreClient;
use proto::eventstore::v1::{AppendRequest, ReadRequest};
use proto::messagequeue::v1::message_queue_client::MessageQueueClient;
use proto::messagequeue::v1::{ReceiveRequest, SendRequest};
use redis_link::test_util::PrivateRedis;
use svc_runtime::rpc_error::ErrorFacts;
use svc_security::{ClientSecurity, SecuredChannel, ServiceAccess, Timing};
use system_tests::clients;
use system_tests::health::Probe;
use system_tests::ports::Port;
use system_tests::process::Process;
use system_tests::topology::{EVENT_STORE, MESSAGE_QUEUE, Places};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};

use crate::pki::Issued;

pub const BOTH: [&str; 2] = [EVENT_STORE, MESSAGE_QUEUE];
/// Services look at their files every 5 s.
const PATIENCE: Duration = Duration::from_secs(40);
/// Clients of these tests look more often.
const TIMING: Timing = Timing {
    files: Duration::from_millis(50),
    keys: Duration::from_secs(300),
    unknown_key: Duration::from_secs(30),
};

/// A folder for files.
pub struct Files(TempDir);

impl Files {
    pub fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Puts a file there, whole at once.
    pub fn put(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let new = self.path(&format!("{name}.new"));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.path(name)).unwrap();
        self.path(name)
    }

    pub fn put_issued(&self, name: &str, issued: &Issued) {
        self.put(&format!("{name}.key"), &issued.key);
        self.put(&format!("{name}.crt"), &issued.cert);
    }

    /// A service with these flags, in which `@name` is the path of a file here.
    pub async fn serve(&self, name: &'static str, flags: &str) -> Front {
        let redis = PrivateRedis::start();
        let (port, admin) = (Port::reserve().unwrap(), Port::reserve().unwrap());
        let places = Places {
            redis_url: redis.url(),
            event_store_url: String::new(),
            message_queue_url: String::new(),
            orphaned: nix::sys::signal::Signal::SIGKILL,
        };
        let mut plan = places.front(name, &port.address(), &admin.address()).unwrap().plan;
        plan.args.extend(flags.split_whitespace().map(|word| match word.strip_prefix('@') {
            Some(name) => self.path(name).into_os_string(),
            None => word.into(),
        }));
        let process = Process::start(&plan, self.0.path()).unwrap();
        let front =
            Front { name, is_tls: flags.contains("--tls-cert"), process, port, admin, redis };
        let probe = Probe::Http(front.admin.address());
        soon("it is ready", || async { probe.check().await.is_ok() }).await;
        front
    }
}

/// A running service.
pub struct Front {
    pub name: &'static str,
    is_tls: bool,
    process: Process,
    port: Port,
    admin: Port,
    redis: PrivateRedis,
}

impl Front {
    pub fn url(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://localhost:{}", self.port.number())
    }

    /// Where a certificate for `localhost` does not hold.
    pub fn other_url(&self) -> String {
        self.url().replace("localhost", "127.0.0.1")
    }

    /// A connection of its own.
    pub fn connect(&self, client: &ClientSecurity) -> Client {
        self.client(&access(client), &self.url())
    }

    pub fn client(&self, access: &ServiceAccess, url: &str) -> Client {
        Client { name: self.name, channel: access.channel(url, 1).unwrap() }
    }

    /// Keys of `order` in its Redis.
    pub fn keys(&self) -> String {
        self.redis.cli(&["KEYS", "*order*"]).trim().to_owned()
    }

    /// How many events or messages of `order` there are.
    pub fn written(&self) -> usize {
        let count = match self.name {
            EVENT_STORE => self.redis.cli(&["XLEN", "es:{order}:log"]),
            _ => self.redis.cli(&["HLEN", "mq:{order}:body"]),
        };
        count.trim().parse().unwrap()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        self.process.tail(1_000)
    }
}

pub fn access(client: &ClientSecurity) -> ServiceAccess {
    client.start_with(TIMING).unwrap()
}

/// A client that trusts `ca` and shows `cert` (its key beside it), and sends the token in `token`.
pub fn client(ca: &Path, cert: Option<&PathBuf>, token: Option<&PathBuf>) -> ClientSecurity {
    ClientSecurity {
        services_ca: Some(ca.to_owned()),
        services_cert: cert.cloned(),
        services_key: cert.map(|cert| cert.with_extension("key")),
        services_token_file: token.cloned(),
    }
}

/// Asks either service.
#[derive(Clone)]
pub struct Client {
    name: &'static str,
    channel: SecuredChannel,
}

impl Client {
    /// Appends or sends one; needs the right `append` or `send`.
    pub async fn write(&self, to: &str, id: &str) -> Result<(), Status> {
        let channel = self.channel.clone();
        if self.name == EVENT_STORE {
            let request: AppendRequest = clients::append(to, vec![clients::event(id, "t", "text")]);
            EventStoreClient::new(channel).append(request).await.map(drop)
        } else {
            let request: SendRequest = clients::send(to, vec![clients::outgoing("t", id)]);
            MessageQueueClient::new(channel).send(request).await.map(drop)
        }
    }

    /// Reads or receives; needs the right `read` or `receive`.
    pub async fn read(&self, from: &str) -> Result<(), Status> {
        let channel = self.channel.clone();
        if self.name == EVENT_STORE {
            let request = ReadRequest { topic: from.into(), ..Default::default() };
            EventStoreClient::new(channel).read(request).await.map(drop)
        } else {
            let request = ReceiveRequest { queue: from.into(), ..Default::default() };
            MessageQueueClient::new(channel).receive(request).await.map(drop)
        }
    }

    /// Fails unless reading is denied, with the right, the resource and the caller named.
    pub async fn assert_denied(&self, caller: &str) {
        let status = self.read("order").await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
        let facts = ErrorFacts::of(&status).expect("it carries ErrorInfo");
        let (domain, kind, right) = match self.name {
            EVENT_STORE => ("eventstore.v1", "topic", "read"),
            _ => ("messagequeue.v1", "queue", "receive"),
        };
        assert_eq!((&*facts.reason, &*facts.domain), ("PERMISSION_DENIED", domain));
        assert_eq!(facts.metadata["right"], right);
        assert_eq!(facts.metadata[kind], "order");
        assert_eq!(facts.metadata["caller"], caller);
    }

    /// Fails unless it is refused for that cause.
    pub async fn assert_unauthenticated(&self, cause: &str) {
        let status = self.write("order", "refused").await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{cause}: {status:?}");
        let facts = ErrorFacts::of(&status).expect("it carries ErrorInfo");
        assert_eq!((&*facts.reason, &*facts.metadata["cause"]), ("UNAUTHENTICATED", cause));
    }

    /// Fails unless no answer of the service comes at all.
    pub async fn assert_no_connection(&self, why: &str) {
        let status = self.write("order", "refused").await.unwrap_err();
        assert!(ErrorFacts::of(&status).is_none(), "{why}: {status:?}");
        let of_transport = [Code::Unavailable, Code::Unknown, Code::Cancelled];
        assert!(of_transport.contains(&status.code()), "{why}: {status:?}");
    }
}

/// Tries until it is so.
pub async fn soon<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}
