//! A server with security as flags say, a folder for its files, and clients for it.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Parser;
use svc_runtime::health::Readiness;
use svc_runtime::rpc_error::ErrorFacts;
use svc_security::{
    ClientSecurity, SecuredChannel, Security, SecurityArgs, SecurityError, ServiceAccess, Timing,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::{Code, Status};

use crate::echo::Echo;
use crate::pki::Issued;

/// Looks at files often, so that tests need not wait.
pub const TIMING: Timing = Timing {
    files: Duration::from_millis(20),
    keys: Duration::from_millis(100),
    unknown_key: Duration::from_secs(1),
};
/// Longer than anything here takes, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    security: SecurityArgs,
}

/// A folder for files.
pub struct Files(TempDir, AtomicUsize);

impl Files {
    pub fn new() -> Self {
        Self(TempDir::new().unwrap(), AtomicUsize::new(0))
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

    /// Puts a file there that no other client reads.
    pub fn token(&self, token: &str) -> PathBuf {
        self.put(&format!("token-{}", self.1.fetch_add(1, Ordering::Relaxed)), token)
    }

    pub fn put_issued(&self, name: &str, issued: &Issued) {
        self.put(&format!("{name}.crt"), &issued.cert);
        self.put(&format!("{name}.key"), &issued.key);
    }

    /// Flags in which `@name` is the path of a file here.
    pub fn args(&self, flags: &str) -> SecurityArgs {
        let words = flags.split_whitespace().map(|word| match word.strip_prefix('@') {
            Some(name) => self.path(name).display().to_string(),
            None => word.to_owned(),
        });
        Cli::try_parse_from(std::iter::once("svc".to_owned()).chain(words)).unwrap().security
    }

    pub async fn problems(&self, flags: &str) -> SecurityError {
        match Security::start_with(&self.args(flags), "test.v1", TIMING).await {
            Ok(_) => panic!("{flags} is taken"),
            Err(error) => error,
        }
    }

    /// A server with these flags.
    pub async fn serve(&self, flags: &str) -> Served {
        self.serve_with(flags, TIMING).await
    }

    pub async fn serve_with(&self, flags: &str, timing: Timing) -> Served {
        let args = self.args(flags);
        let security = Security::start_with(&args, "test.v1", timing).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (readiness, health) = Readiness::new(&["test.v1.Echo"]);
        readiness.set(true);
        let mut routes = Routes::new(health).add_service(Echo);
        if security.reflection() {
            let descriptors = tonic_health::pb::FILE_DESCRIPTOR_SET;
            routes = routes.add_service(svc_runtime::serve::reflection(descriptors).unwrap());
        }
        let stop = CancellationToken::new();
        let connections = security.connections(listener, stop.child_token());
        let server = Server::builder()
            .layer(security.layer())
            .add_routes(routes)
            .serve_with_incoming_shutdown(connections, stop.clone().cancelled_owned());
        tokio::spawn(server);
        Served { security, port, _readiness: readiness, _stop: stop.drop_guard() }
    }
}

/// A server that runs until dropped.
pub struct Served {
    pub security: Security,
    pub port: u16,
    _readiness: Readiness,
    _stop: DropGuard,
}

impl Served {
    pub fn url(&self) -> String {
        let scheme = if self.security.is_tls() { "https" } else { "http" };
        format!("{scheme}://localhost:{}", self.port)
    }

    /// A connection of its own.
    pub fn connect(&self, client: &ClientSecurity) -> SecuredChannel {
        access(client).channel(&self.url(), 1).unwrap()
    }
}

pub fn access(client: &ClientSecurity) -> ServiceAccess {
    client.start_with(TIMING).unwrap()
}

/// A client that trusts `ca` and shows `cert` (its key beside it), and sends the token in `token`.
pub fn client(ca: Option<&Path>, cert: Option<&Path>, token: Option<&Path>) -> ClientSecurity {
    ClientSecurity {
        services_ca: ca.map(Path::to_owned),
        services_cert: cert.map(Path::to_owned),
        services_key: cert.map(|cert| cert.with_extension("key")),
        services_token_file: token.map(Path::to_owned),
    }
}

/// Tries until it is so: for what happens soon after something else.
pub async fn soon<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Fails unless the call was refused for that cause, as the service documents it.
#[track_caller]
pub fn assert_unauthenticated(answer: Result<String, Status>, cause: &str) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    let facts = ErrorFacts::of(&status).expect("it carries ErrorInfo");
    assert_eq!((&*facts.reason, &*facts.domain), ("UNAUTHENTICATED", "test.v1"));
    assert_eq!(facts.metadata["cause"], cause, "{status:?}");
    assert!(!status.message().is_empty());
}

/// Fails unless no answer of the service came at all.
#[track_caller]
pub fn assert_no_connection(answer: &Result<String, Status>) {
    let status = answer.as_ref().unwrap_err();
    assert!(ErrorFacts::of(status).is_none(), "{status:?}");
    let of_transport = [Code::Unavailable, Code::Unknown, Code::Cancelled];
    assert!(of_transport.contains(&status.code()), "{status:?}");
}
