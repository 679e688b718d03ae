//! An issuer's HTTPS server: it answers with a JWKS that can be changed, or not at all, and counts.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::task::AbortOnDropHandle;

use crate::pki::Ca;
use crate::server::Files;

pub struct JwksServer {
    pub url: String,
    pub ca: PathBuf,
    state: Arc<State>,
    _task: AbortOnDropHandle<()>,
}

struct State {
    /// None: it says that it is broken.
    jwks: ArcSwapOption<String>,
    asked: AtomicUsize,
}

impl JwksServer {
    pub async fn start(files: &Files, jwks: String) -> Self {
        let ca = Ca::new("login ca");
        let issued = ca.server();
        let chain = vec![CertificateDer::from_pem_slice(issued.cert.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State { jwks: ArcSwapOption::from_pointee(jwks), asked: AtomicUsize::new(0) };
        let state = Arc::new(state);
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(acceptor.clone(), socket, Arc::clone(&shared)));
            }
        });
        let url = format!("https://localhost:{port}/keys");
        let ca = files.put("login-ca.pem", ca.pem());
        Self { url, ca, state, _task: AbortOnDropHandle::new(task) }
    }

    pub fn put(&self, jwks: String) {
        self.state.jwks.store(Some(Arc::new(jwks)));
    }

    pub fn break_down(&self) {
        self.state.jwks.store(None);
    }

    pub fn asked(&self) -> usize {
        self.state.asked.load(Ordering::SeqCst)
    }
}

async fn answer(acceptor: TlsAcceptor, socket: tokio::net::TcpStream, state: Arc<State>) {
    // A client that does not trust this server ends here.
    let Ok(mut stream) = acceptor.accept(socket).await else { return };
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    state.asked.fetch_add(1, Ordering::SeqCst);
    let (status, body) = match &*state.jwks.load() {
        Some(jwks) => ("200 OK", jwks.to_string()),
        None => ("503 Service Unavailable", "down".to_owned()),
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    // The client may be gone; then nobody misses the answer.
    if stream.write_all(format!("{head}{body}").as_bytes()).await.is_ok() {
        drop(stream.shutdown().await);
    }
}
