//! How every connection is made: address, certificates, user and password. Files are read for each
//! new connection, so that one made after they changed uses what they hold now.

use std::{
    path::Path,
    sync::{Arc, Weak},
    time::Duration,
};

use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo, TlsCertificates,
};
use rustls::crypto::{CryptoProvider, ring};
use svc_runtime::credentials::{check_pair, read, roots};
use tokio::sync::watch;

use crate::{
    LinkError, Problem, RedisArgs,
    config::{SENTINEL_PASSWORD, SentinelAddress},
    sentinel::{self, Place, Primary, follow},
};

const CA: &str = "--redis-ca";
const CERT: &str = "--redis-cert";
const KEY: &str = "--redis-key";
const PASSWORD: &str = "--redis-password-file";

/// The Sentinels, what they call the primary, and how long they may take.
type Sentinels = (Vec<(SentinelAddress, Client)>, String, Duration);

/// Makes clients, one for each connection. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    args: Arc<RedisArgs>,
    /// Where the primary was last, where Sentinels tell.
    primary: Arc<watch::Sender<Option<Primary>>>,
}

/// An [`Access`] for as long as others have it.
#[derive(Clone, Debug)]
pub(crate) struct WeakAccess {
    args: Arc<RedisArgs>,
    primary: Weak<watch::Sender<Option<Primary>>>,
}

impl WeakAccess {
    pub(crate) fn upgrade(&self) -> Option<Access> {
        let primary = self.primary.upgrade()?;
        Some(Access { args: Arc::clone(&self.args), primary })
    }
}

impl Access {
    pub(crate) fn new(args: &RedisArgs) -> Self {
        if args.redis_url.is_tls() && CryptoProvider::get_default().is_none() {
            // Another part of the process may be first, which is just as well.
            let _ = ring::default_provider().install_default();
        }
        Self { args: Arc::new(args.clone()), primary: Arc::new(watch::channel(None).0) }
    }

    /// Listens to the Sentinels, if there are any. Must be called within a Tokio runtime.
    pub(crate) fn follow(&self) {
        if self.args.sentinel.watched().is_some() {
            let (args, primary) = (Arc::clone(&self.args), Arc::downgrade(&self.primary));
            tokio::spawn(follow::run(WeakAccess { args, primary }));
        }
    }

    /// A client for one connection, with what the files hold now, to where the primary is now.
    ///
    /// # Errors
    /// [`LinkError::Unavailable`] that names the flag of a file that cannot be used, or why no
    /// Sentinel says where the primary is.
    pub(crate) async fn client(
        &self,
        protocol: ProtocolVersion,
    ) -> Result<(Client, Place), LinkError> {
        let primary = self.primary().await?;
        let place = Place::new(primary.clone(), self.primary.subscribe());
        Ok((self.read(move |args| client(args, protocol, primary)).await?, place))
    }

    /// Asks the Sentinels, if there are any, where the primary is.
    pub(crate) async fn primary(&self) -> Result<Option<Primary>, LinkError> {
        let Some((sentinels, name, limit)) = self.sentinels().await? else { return Ok(None) };
        let known = self.primary.borrow().clone();
        let primary = sentinel::primary(&sentinels, &name, known.clone(), limit).await?;
        self.set(primary.clone(), |now| now == known.as_ref());
        Ok(Some(primary))
    }

    /// Tells where the primary is now, unless something newer is known.
    pub(crate) fn tell(&self, primary: Primary) {
        self.set(primary, |_| false);
    }

    fn set(&self, primary: Primary, also_if: impl FnOnce(Option<&Primary>) -> bool) {
        self.primary.send_if_modified(|now| {
            let is_newer = now.as_ref().is_none_or(|now| *now < primary);
            let is_set = (is_newer || also_if(now.as_ref())) && now.as_ref() != Some(&primary);
            if is_set {
                *now = Some(primary);
            }
            is_set
        });
    }

    /// The Sentinels, if there are any, with what the files hold now.
    pub(crate) async fn sentinels(&self) -> Result<Option<Sentinels>, LinkError> {
        let Some((_, name)) = self.args.sentinel.watched() else { return Ok(None) };
        // Half of the time to connect is left for the primary itself.
        let limit = self.args.redis_connect_timeout / 2;
        Ok(Some((self.read(sentinels).await?, name.to_owned(), limit)))
    }

    /// Makes what takes a look at files.
    async fn read<T: Send + 'static>(
        &self,
        make: impl FnOnce(&RedisArgs) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, LinkError> {
        let args = Arc::clone(&self.args);
        let read = tokio::task::spawn_blocking(move || make(&args)).await;
        read.map_err(|error| LinkError::of_connect(&error))?
            .map_err(|problem| LinkError::of_connect(&problem))
    }
}

/// What is wrong with the files, all of it.
pub(crate) fn problems(args: &RedisArgs) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    let mut note = |checked: Result<(), Problem>| problems.extend(checked.err());
    note(password(args).map(drop));
    note(sentinel_password(args).map(drop));
    note(ca(args).map(drop));
    note(identity(args).map(drop));
    if args.redis_url.is_tls() && args.redis_ca.is_none() {
        note(system_roots());
    }
    problems
}

fn system_roots() -> Result<(), Problem> {
    let found = rustls_native_certs::load_native_certs();
    match found.errors.first() {
        Some(error) => Err(Problem::new(CA, format!("is needed: those of the system: {error}"))),
        None if found.certs.is_empty() => {
            Err(Problem::new(CA, "is needed: there are no CA certificates in this system"))
        }
        None => Ok(()),
    }
}

fn client(
    args: &RedisArgs,
    protocol: ProtocolVersion,
    primary: Option<Primary>,
) -> Result<Client, Problem> {
    let mut info = args.redis_url.info();
    let mut settings = info.redis_settings().clone().set_protocol(protocol);
    if let Some(name) = &args.redis_username {
        settings = settings.set_username(name);
    }
    if let Some(password) = password(args)? {
        settings = settings.set_password(password);
    }
    if let Some(Primary { host, port, .. }) = primary {
        info = info.set_addr(address(args, host, port));
    }
    open(args, info.set_redis_settings(settings), "--redis-url")
}

/// A client for each Sentinel.
fn sentinels(args: &RedisArgs) -> Result<Vec<(SentinelAddress, Client)>, Problem> {
    let mut settings = RedisConnectionInfo::default();
    if let Some(name) = &args.sentinel.redis_sentinel_username {
        settings = settings.set_username(name);
    }
    if let Some(password) = sentinel_password(args)? {
        settings = settings.set_password(password);
    }
    let client = |at: &SentinelAddress| {
        let flag = "--redis-sentinels";
        let info = address(args, at.host.clone(), at.port).into_connection_info();
        let info = info.map_err(|error| Problem::new(flag, error.to_string()))?;
        Ok((at.clone(), open(args, info.set_redis_settings(settings.clone()), flag)?))
    };
    args.sentinel.redis_sentinels.iter().map(client).collect()
}

fn address(args: &RedisArgs, host: String, port: u16) -> ConnectionAddr {
    if args.redis_url.is_tls() {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    }
}

fn open(args: &RedisArgs, info: ConnectionInfo, flag: &'static str) -> Result<Client, Problem> {
    // No delay for small packets.
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    let info = info.set_tcp_settings(tcp);
    let client = if args.redis_url.is_tls() {
        let certificates = TlsCertificates { client_tls: identity(args)?, root_cert: ca(args)? };
        Client::build_with_tls(info, certificates)
    } else {
        Client::open(info)
    };
    client.map_err(|error| Problem::new(flag, error.to_string()))
}

fn password(args: &RedisArgs) -> Result<Option<String>, Problem> {
    args.redis_password_file.as_deref().map(|path| password_in(PASSWORD, path)).transpose()
}

fn sentinel_password(args: &RedisArgs) -> Result<Option<String>, Problem> {
    let path = args.sentinel.redis_sentinel_password_file.as_deref();
    path.map(|path| password_in(SENTINEL_PASSWORD, path)).transpose()
}

fn password_in(flag: &'static str, path: &Path) -> Result<String, Problem> {
    let text =
        String::from_utf8(read(flag, path)?).map_err(|_| Problem::new(flag, "has to hold text"))?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() || password.contains('\n') {
        return Err(Problem::new(flag, "has to hold the password, one line and nothing else"));
    }
    Ok(password.to_owned())
}

fn ca(args: &RedisArgs) -> Result<Option<Vec<u8>>, Problem> {
    let Some(path) = &args.redis_ca else { return Ok(None) };
    let pem = read(CA, path)?;
    roots(CA, &pem)?;
    Ok(Some(pem))
}

fn identity(args: &RedisArgs) -> Result<Option<ClientTlsConfig>, Problem> {
    let (Some(cert), Some(key)) = (&args.redis_cert, &args.redis_key) else { return Ok(None) };
    let (client_cert, client_key) = (read(CERT, cert)?, read(KEY, key)?);
    check_pair((CERT, &client_cert), (KEY, &client_key))?;
    Ok(Some(ClientTlsConfig { client_cert, client_key }))
}
