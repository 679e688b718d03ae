//! The other side: how a program shows itself to the services, and whom it takes for them. What it
//! shows is read again when the files change; connections are made anew with it, and calls that are
//! under way end on the old ones.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use clap::Args;
use svc_runtime::{client, credentials};
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::channel::Change;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use crate::crypto;
use crate::files::{Watched, keep_looking};
use crate::problem::{Problem, SecurityError, noted};
use crate::security::Timing;

const CA: &str = "--services-ca";
const CERT: &str = "--services-cert";
const KEY: &str = "--services-key";
const TOKEN: &str = "--services-token-file";

/// How to reach services that ask for TLS or for who calls.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Security of the services")]
pub struct ClientSecurity {
    /// CA that the services' certificates must come from where their address begins with https, as
    /// in `/tls/ca.crt`: PEM. Read again when it changes. Default: those of the system.
    #[arg(long, env = "SERVICES_CA", value_name = "FILE")]
    pub services_ca: Option<PathBuf>,

    /// Certificate to show to the services, as in `/tls/tls.crt`: PEM. Read again when it changes.
    /// Default: none.
    #[arg(long, env = "SERVICES_CERT", value_name = "FILE")]
    pub services_cert: Option<PathBuf>,

    /// Private key of that certificate, as in `/tls/tls.key`: PEM, not encrypted. Default: none.
    #[arg(long, env = "SERVICES_KEY", value_name = "FILE")]
    pub services_key: Option<PathBuf>,

    /// File with the token to send with each call, as in `/auth/token`; white space around it does
    /// not count. Read again when it changes. Default: none, no token is sent.
    #[arg(long, env = "SERVICES_TOKEN_FILE", value_name = "FILE")]
    pub services_token_file: Option<PathBuf>,
}

/// A channel whose calls carry the token.
pub type SecuredChannel = InterceptedService<Channel, BearerToken>;

impl ClientSecurity {
    /// Reads what the flags name, within a Tokio runtime.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn start(&self) -> Result<ServiceAccess, SecurityError> {
        self.start_with(Timing::default())
    }

    /// As [`ClientSecurity::start`], looking at files more often or less.
    ///
    /// # Errors
    /// As for [`ClientSecurity::start`].
    pub fn start_with(&self, timing: Timing) -> Result<ServiceAccess, SecurityError> {
        crypto::install();
        let mut problems = Vec::new();
        match (&self.services_cert, &self.services_key) {
            (Some(_), None) => problems.push(Problem::new(KEY, "is missing: it takes both")),
            (None, Some(_)) => problems.push(Problem::new(CERT, "is missing: it takes both")),
            _ => {}
        }
        SecurityError::check(std::mem::take(&mut problems))?;
        let (tls, token) = (watch::Sender::default(), ArcSwap::default());
        let shared = Arc::new(Shared { tls, token });
        let mut watched = Vec::new();
        watched.extend(noted(self.watch_tls(&shared), &mut problems));
        if let Some(path) = &self.services_token_file {
            watched.extend(noted(watch_token(path.clone(), &shared), &mut problems));
        }
        SecurityError::check(problems)?;
        let task = AbortOnDropHandle::new(tokio::spawn(keep_looking(watched, timing.files)));
        Ok(ServiceAccess { shared, _task: Arc::new(task) })
    }

    fn watch_tls(&self, shared: &Arc<Shared>) -> Result<Watched, Problem> {
        let given =
            [(CA, &self.services_ca), (CERT, &self.services_cert), (KEY, &self.services_key)];
        let files: Vec<_> =
            given.into_iter().filter_map(|(flag, path)| Some((flag, path.clone()?))).collect();
        let flags: Vec<_> = files.iter().map(|(flag, _)| *flag).collect();
        let shared = Arc::clone(shared);
        let apply = Box::new(move |contents: &[Vec<u8>]| {
            let of = |flag| {
                let at = flags.iter().position(|given| *given == flag)?;
                contents.get(at).map(Vec::as_slice)
            };
            shared.tls.send_replace(client_tls(of(CA), of(CERT).zip(of(KEY)))?);
            Ok(())
        });
        Watched::start("certificates for the services", files, apply)
    }
}

fn client_tls(
    ca: Option<&[u8]>,
    identity: Option<(&[u8], &[u8])>,
) -> Result<ClientTlsConfig, Problem> {
    let mut config = ClientTlsConfig::new();
    match ca {
        Some(pem) => {
            credentials::roots(CA, pem)?;
            config = config.ca_certificate(Certificate::from_pem(pem));
        }
        None => config = config.with_native_roots(),
    }
    if let Some((cert, key)) = identity {
        credentials::check_pair((CERT, cert), (KEY, key))?;
        config = config.identity(Identity::from_pem(cert, key));
    }
    Ok(config)
}

fn watch_token(path: PathBuf, shared: &Arc<Shared>) -> Result<Watched, Problem> {
    let shared = Arc::clone(shared);
    let apply = Box::new(move |contents: &[Vec<u8>]| {
        let wrong = || Problem::new(TOKEN, "has to hold one token: visible ASCII characters");
        let text = String::from_utf8(contents.concat()).map_err(|_| wrong())?;
        let token = text.trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong());
        }
        let mut value: MetadataValue<Ascii> =
            format!("Bearer {token}").parse().map_err(|_| wrong())?;
        value.set_sensitive(true);
        shared.token.store(Arc::new(Some(value)));
        Ok(())
    });
    Watched::start("the token for the services", vec![(TOKEN, path)], apply)
}

/// What is shown to services now.
struct Shared {
    tls: watch::Sender<ClientTlsConfig>,
    token: ArcSwap<Option<MetadataValue<Ascii>>>,
}

/// Has the connections of a channel made anew, with the newest certificates, whenever those change;
/// each takes the place of an old one once it is there. Ends with the channel.
async fn follow(
    endpoint: Endpoint,
    connections: usize,
    changes: mpsc::Sender<Change<usize, Endpoint>>,
    mut tls: watch::Receiver<ClientTlsConfig>,
) {
    loop {
        tokio::select! {
            changed = tls.changed() => if changed.is_err() { return },
            () = changes.closed() => return,
        }
        let config = tls.borrow_and_update().clone();
        match endpoint.clone().tls_config(config) {
            Ok(endpoint) => {
                for key in 0..connections {
                    // Waits while nobody calls; what is newer by then follows.
                    if changes.send(Change::Insert(key, endpoint.clone())).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "cannot connect with the new certificates"),
        }
    }
}

/// Reaches services in the way that the flags say. Files are watched while a clone of it or one of
/// its channels is there.
#[derive(Clone)]
pub struct ServiceAccess {
    shared: Arc<Shared>,
    _task: Arc<AbortOnDropHandle<()>>,
}

impl std::fmt::Debug for ServiceAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceAccess").finish_non_exhaustive()
    }
}

impl ServiceAccess {
    /// A channel to `url` over `connections` connections (at least one), each made when it is first
    /// needed and again when it was lost; over TLS where `url` begins with https.
    ///
    /// # Errors
    /// When `url` is none, or TLS with what there is cannot be had.
    pub fn channel(&self, url: &str, connections: usize) -> Result<SecuredChannel, Problem> {
        let wrong = |what: String| Problem::new("address", format!("`{url}`: {what}"));
        let endpoint = client::endpoint(url).map_err(|error| wrong(error.to_string()))?;
        let is_tls = match endpoint.uri().scheme_str() {
            Some("https") => true,
            Some("http") if endpoint.uri().host().is_some() => false,
            _ => return Err(wrong("begin it with http:// or https://".to_owned())),
        };
        if !is_tls && self.shared.token.load().is_some() {
            tracing::warn!(url, "the token is sent unencrypted: use an https address");
        }
        let connections = connections.max(1);
        let (channel, changes) = Channel::balance_channel(connections);
        let mut first = endpoint.clone();
        if is_tls {
            let tls = self.shared.tls.subscribe();
            let config = tls.borrow().clone();
            first = first.tls_config(config).map_err(|error| wrong(cause(&error)))?;
            tokio::spawn(follow(endpoint, connections, changes.clone(), tls));
        }
        for key in 0..connections {
            // Cannot be full: it holds one change for each connection.
            if changes.try_send(Change::Insert(key, first.clone())).is_err() {
                break;
            }
        }
        Ok(InterceptedService::new(channel, BearerToken { access: self.clone() }))
    }
}

fn cause(error: &tonic::transport::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// Adds the token, if there is one, to each call.
#[derive(Clone, Debug)]
pub struct BearerToken {
    access: ServiceAccess,
}

impl Interceptor for BearerToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &**self.access.shared.token.load() {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}
