//! TLS as the services offer it: HTTP/2 only, by a certificate that is read again when it changes.
//! A connection keeps the certificate it was made with; the next one gets the new.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use svc_runtime::credentials::{certificates, private_key, roots};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};

use crate::files::Watched;
use crate::problem::Problem;
use crate::{crypto, identity};

const CERT: &str = "--tls-cert";
const KEY: &str = "--tls-key";
const CLIENT_CA: &str = "--tls-client-ca";

/// What is in force now.
pub(crate) type CurrentTls = Arc<ArcSwapOption<ServerConfig>>;

/// Reads the files, and says how to read them again.
pub(crate) fn start(
    cert: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
) -> Result<(CurrentTls, Watched), Problem> {
    let current = CurrentTls::default();
    let mut files = vec![(CERT, cert), (KEY, key)];
    files.extend(client_ca.map(|path| (CLIENT_CA, path)));
    let target = Arc::clone(&current);
    let apply = Box::new(move |contents: &[Vec<u8>]| {
        let config = match contents {
            [cert, key] => server_config(cert, key, None)?,
            [cert, key, ca] => server_config(cert, key, Some(ca))?,
            _ => return Err(Problem::new(CERT, "needs a certificate and a key")),
        };
        target.store(Some(Arc::new(config)));
        Ok(())
    });
    let watched = Watched::start("certificates", files, apply)?;
    Ok((current, watched))
}

/// A configuration of its own each time: sessions that were begun under other CAs cannot be resumed.
fn server_config(
    cert: &[u8],
    key: &[u8],
    client_ca: Option<&Vec<u8>>,
) -> Result<ServerConfig, Problem> {
    let chain = certificates(CERT, cert)?;
    let until = chain
        .first()
        .map_or_else(|| Ok(String::new()), |first| identity::valid_until(first))
        .map_err(|what| Problem::new(CERT, what))?;
    let key = private_key(KEY, key)?;
    let builder = ServerConfig::builder_with_provider(crypto::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Problem::new(CERT, error.to_string()))?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let roots = Arc::new(roots(CLIENT_CA, ca)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, crypto::provider())
                .build()
                .map_err(|error| Problem::new(CLIENT_CA, error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| {
        Problem::new(KEY, format!("{error}; it has to be the key of {CERT}'s first certificate"))
    })?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    if client_ca.is_some() {
        // A session that goes on is not asked for its certificate again, which may have expired.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    tracing::info!(%until, mutual = client_ca.is_some(), "using a tls certificate");
    Ok(config)
}
