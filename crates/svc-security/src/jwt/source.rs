//! Where the keys of `--jwt-keys` come from: a file, or a URL, and that over TLS only.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Client, Url};
use svc_runtime::credentials;
use svc_runtime::problem::masked;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::args::is_url;
use crate::crypto;

/// How long the keys may take; a call may be waiting for them.
const TIMEOUT: Duration = Duration::from_secs(5);
/// More than any JWKS has reason to be.
const MOST_BYTES: usize = 1 << 20;
const FLAG: &str = "--jwt-keys";
const CA_FLAG: &str = "--jwt-keys-ca";

/// Where keys come from.
#[derive(Debug)]
pub(crate) enum Source {
    File(PathBuf),
    Url {
        url: Url,
        /// Trusted instead of the system's, if given.
        ca: Option<PathBuf>,
    },
}

impl Source {
    pub(crate) fn new(keys: &str, ca: Option<PathBuf>) -> Result<Self, String> {
        if !is_url(keys) {
            return Ok(Self::File(keys.into()));
        }
        let url = Url::parse(keys).ok().filter(|url| url.scheme() == "https" && url.has_host());
        let url = url.ok_or("has to be a file, or a URL that begins with https://")?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not hold a user or password: keys are public".to_owned());
        }
        Ok(Self::Url { url, ca })
    }

    /// Whether looking costs next to nothing.
    pub(crate) fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// What is there now.
    pub(crate) async fn fetch(&self) -> Result<Vec<u8>, String> {
        match self {
            Self::File(path) => {
                let path = path.clone();
                let read = move || credentials::read(FLAG, &path).map_err(|problem| problem.what);
                blocking(read).await
            }
            Self::Url { url, ca } => {
                let ca = ca.clone();
                // Anew each time: CAs are replaced too, and this is rare.
                let client = blocking(move || client(ca)).await?;
                get(&client, url).await.map_err(|what| format!("{}: {what}", masked(url.as_str())))
            }
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?
}

fn client(ca: Option<PathBuf>) -> Result<Client, String> {
    let roots = match ca {
        Some(path) => credentials::read(CA_FLAG, &path)
            .and_then(|pem| credentials::roots(CA_FLAG, &pem))
            .map_err(|problem| problem.to_string())?,
        None => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots
        }
    };
    if roots.is_empty() {
        return Err(format!("this system trusts no CA: give one with {CA_FLAG}"));
    }
    let config = ClientConfig::builder_with_provider(crypto::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Client::builder()
        .use_preconfigured_tls(config)
        .https_only(true)
        .timeout(TIMEOUT)
        .build()
        .map_err(|error| cause(&error))
}

async fn get(client: &Client, url: &Url) -> Result<Vec<u8>, String> {
    let answer = client.get(url.clone()).send().await.map_err(|error| cause(&error))?;
    let mut answer = answer.error_for_status().map_err(|error| cause(&error))?;
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| cause(&error))? {
        if bytes.len() + chunk.len() > MOST_BYTES {
            return Err("answers more than 1 MiB".to_owned());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// The innermost cause, which says most, and without the URL: its query may be secret.
fn cause(error: &reqwest::Error) -> String {
    if let Some(status) = error.status() {
        return format!("answers {status}");
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if error.is_timeout() {
        return format!("does not answer within {} s", TIMEOUT.as_secs());
    }
    // The outermost error is the one that names the URL.
    if std::ptr::addr_eq(cause, error) { "cannot be reached".to_owned() } else { cause.to_string() }
}
