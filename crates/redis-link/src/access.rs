//! How every connection is made: address, certificates, user and password. Files are read for each
//! new connection, so that one made after they changed uses what they hold now.

use std::{fs::File, io::Read, path::Path, sync::Arc};

use redis::{Client, ClientTlsConfig, ProtocolVersion, TlsCertificates};
use rustls::{
    RootCertStore,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};

use crate::{LinkError, Problem, RedisArgs};

const CA: &str = "--redis-ca";
const CERT: &str = "--redis-cert";
const KEY: &str = "--redis-key";
const PASSWORD: &str = "--redis-password-file";

/// More than any file here has reason to be.
const MOST_BYTES: u64 = 1 << 20;

/// Makes clients, one for each connection. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    args: Arc<RedisArgs>,
}

impl Access {
    pub(crate) fn new(args: &RedisArgs) -> Self {
        if args.redis_url.is_tls() && CryptoProvider::get_default().is_none() {
            // Another part of the process may be first, which is just as well.
            let _ = ring::default_provider().install_default();
        }
        Self { args: Arc::new(args.clone()) }
    }

    /// A client for one connection, with what the files hold now.
    ///
    /// # Errors
    /// [`LinkError::Unavailable`] that names the flag of a file that cannot be used.
    pub(crate) async fn client(&self, protocol: ProtocolVersion) -> Result<Client, LinkError> {
        let args = Arc::clone(&self.args);
        let read = tokio::task::spawn_blocking(move || client(&args, protocol)).await;
        read.map_err(|error| LinkError::of_connect(&error))?
            .map_err(|problem| LinkError::of_connect(&problem))
    }
}

/// What is wrong with the files, all of it.
pub(crate) fn problems(args: &RedisArgs) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    let mut note = |checked: Result<(), Problem>| problems.extend(checked.err());
    note(password(args).map(drop));
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

fn client(args: &RedisArgs, protocol: ProtocolVersion) -> Result<Client, Problem> {
    let info = args.redis_url.info();
    // No delay for small packets.
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    let mut settings = info.redis_settings().clone().set_protocol(protocol);
    if let Some(name) = &args.redis_username {
        settings = settings.set_username(name);
    }
    if let Some(password) = password(args)? {
        settings = settings.set_password(password);
    }
    let info = info.set_tcp_settings(tcp).set_redis_settings(settings);
    let client = if args.redis_url.is_tls() {
        let certificates = TlsCertificates { client_tls: identity(args)?, root_cert: ca(args)? };
        Client::build_with_tls(info, certificates)
    } else {
        Client::open(info)
    };
    client.map_err(|error| Problem::new("--redis-url", error.to_string()))
}

fn password(args: &RedisArgs) -> Result<Option<String>, Problem> {
    let Some(path) = &args.redis_password_file else { return Ok(None) };
    let text = String::from_utf8(read(PASSWORD, path)?)
        .map_err(|_| Problem::new(PASSWORD, "has to hold text"))?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() || password.contains('\n') {
        return Err(Problem::new(PASSWORD, "has to hold the password, one line and nothing else"));
    }
    Ok(Some(password.to_owned()))
}

fn ca(args: &RedisArgs) -> Result<Option<Vec<u8>>, Problem> {
    let Some(path) = &args.redis_ca else { return Ok(None) };
    let pem = read(CA, path)?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(CA, &pem)? {
        roots
            .add(certificate)
            .map_err(|error| Problem::new(CA, format!("holds no CA certificate: {error}")))?;
    }
    Ok(Some(pem))
}

fn identity(args: &RedisArgs) -> Result<Option<ClientTlsConfig>, Problem> {
    let (Some(cert), Some(key)) = (&args.redis_cert, &args.redis_key) else { return Ok(None) };
    let (client_cert, client_key) = (read(CERT, cert)?, read(KEY, key)?);
    let chain = certificates(CERT, &client_cert)?;
    let key = PrivateKeyDer::from_pem_slice(&client_key).map_err(|_| {
        Problem::new(KEY, "holds no PEM private key (PKCS#8, PKCS#1 or SEC1, not encrypted)")
    })?;
    CertifiedKey::from_der(chain, key, &ring::default_provider())
        .map_err(|error| Problem::new(KEY, format!("{error}; it has to be {CERT}'s")))?;
    Ok(Some(ClientTlsConfig { client_cert, client_key }))
}

fn certificates(flag: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or_else(|| Problem::new(flag, "holds no PEM certificate (-----BEGIN CERTIFICATE-----)"))
}

fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, Problem> {
    let wrong = |error: std::io::Error| {
        Problem::new(flag, format!("cannot read {}: {error}", path.display()))
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(wrong)?;
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(wrong)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(Problem::new(flag, format!("{} is larger than 1 MiB", path.display())));
    }
    Ok(bytes)
}
