//! Accepted connections, until told to stop. TLS handshakes run beside the accepting, bounded in
//! number and time, so that who is slow keeps nobody else waiting; connections over the limit are
//! closed at once.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, stream};
use svc_runtime::incoming::{Cuttable, accept};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::caller::Authority;
use crate::connection::{Connection, Peer, Socket};
use crate::identity;
use crate::refusals::Reason;
use crate::tls::CurrentTls;

/// How long a client may take for its handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Handshakes under way at once.
pub(crate) const MOST_HANDSHAKES: usize = 1024;
/// Where there are that many, a handshake that has taken longer gives way to the next connection.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(2);

/// What the connections of a service share.
#[derive(Clone)]
pub(crate) struct Incoming {
    pub(crate) authority: Arc<Authority>,
    /// None: no TLS.
    pub(crate) tls: Option<CurrentTls>,
    /// One permit for each connection that may still be made.
    pub(crate) places: Arc<Semaphore>,
    /// Handshakes that may be under way at once.
    pub(crate) most_handshakes: usize,
}

/// The connections that `listener` accepts. Never ends and never fails. Each is cut when `cut` is
/// cancelled.
pub(crate) fn connections(
    incoming: Incoming,
    listener: TcpListener,
    cut: CancellationToken,
) -> impl Stream<Item = io::Result<Cuttable<Connection>>> {
    let accepting = Accepting {
        incoming,
        listener,
        cut,
        handshakes: JoinSet::new(),
        oldest: VecDeque::new(),
        waiting: None,
    };
    stream::unfold(accepting, |mut accepting| async move {
        let connection = accepting.next().await;
        let connection = Cuttable::new(connection, &accepting.cut);
        Some((Ok(connection), accepting))
    })
}

struct Accepting {
    incoming: Incoming,
    listener: TcpListener,
    cut: CancellationToken,
    handshakes: JoinSet<Option<Connection>>,
    /// Handshakes by age; those that ended are taken out when they come first.
    oldest: VecDeque<(Instant, AbortHandle)>,
    /// The next connection, until there is room for its handshake.
    waiting: Option<(TcpStream, SocketAddr)>,
}

impl Accepting {
    async fn next(&mut self) -> Connection {
        loop {
            let full_until = self.full_until();
            if full_until.is_none()
                && let Some((socket, address)) = self.waiting.take()
                && let Some(connection) = self.begin(socket, address)
            {
                return connection;
            }
            let must_wait = self.waiting.is_some();
            tokio::select! {
                Some(done) = self.handshakes.join_next() => {
                    if let Ok(Some(connection)) = done {
                        return connection;
                    }
                }
                accepted = accept(&self.listener), if !must_wait => self.waiting = Some(accepted),
                () = sleep_until(full_until.unwrap_or_else(Instant::now)), if must_wait => {
                    if let Some(connection) = self.drop_oldest().await {
                        return connection;
                    }
                }
            }
        }
    }

    /// Drops the handshake that is under way longest, unless one ends just then.
    async fn drop_oldest(&mut self) -> Option<Connection> {
        let (_, slow) = self.oldest.pop_front()?;
        slow.abort();
        // Until it is gone there is no more room than before.
        let gone = self.handshakes.join_next().await?;
        if let Ok(ended) = gone {
            return ended;
        }
        self.incoming.authority.refusals.count(Reason::Handshake, |unsaid| {
            tracing::warn!(unsaid, "a slow tls handshake gave way to others");
        });
        None
    }

    /// When the oldest handshake has to give way, if there is no room for another.
    fn full_until(&mut self) -> Option<Instant> {
        while self.oldest.front().is_some_and(|(_, handle)| handle.is_finished()) {
            self.oldest.pop_front();
        }
        if self.handshakes.len() < self.incoming.most_handshakes {
            return None;
        }
        self.oldest.front().map(|(begun, _)| *begun + HANDSHAKE_PATIENCE)
    }

    /// A connection, unless it is over the limit or has its handshake before it.
    fn begin(&mut self, socket: TcpStream, address: SocketAddr) -> Option<Connection> {
        let Ok(place) = Arc::clone(&self.incoming.places).try_acquire_owned() else {
            self.incoming.authority.refusals.count(Reason::Connections, |unsaid| {
                tracing::warn!(%address, unsaid, "closed a connection: too many are open");
            });
            return None;
        };
        let config = self.incoming.tls.as_ref().and_then(|tls| tls.load_full());
        match (config, &self.incoming.tls) {
            (Some(config), _) => {
                let handshake = Handshake {
                    acceptor: TlsAcceptor::from(config),
                    authority: Arc::clone(&self.incoming.authority),
                    place,
                    address,
                };
                let task = self.handshakes.spawn(handshake.run(socket));
                self.oldest.push_back((Instant::now(), task));
                None
            }
            (None, None) => {
                let caller = self.incoming.authority.anonymous(Some(address.ip()));
                let peer = Peer { address: Some(address), caller };
                Some(Connection::new(Socket::Plain(socket), peer, place))
            }
            // TLS is asked for and there is none: never without.
            (None, Some(_)) => None,
        }
    }
}

struct Handshake {
    acceptor: TlsAcceptor,
    authority: Arc<Authority>,
    place: OwnedSemaphorePermit,
    address: SocketAddr,
}

impl Handshake {
    async fn run(self, socket: TcpStream) -> Option<Connection> {
        let address = self.address;
        let done = timeout(HANDSHAKE_TIMEOUT, self.acceptor.accept(socket)).await;
        let error = match done {
            Ok(Ok(stream)) => {
                let (_, session) = stream.get_ref();
                let certificates = session.peer_certificates().unwrap_or_default();
                let name = certificates.first().and_then(|first| identity::caller_name(first));
                let caller = match name {
                    Some(name) => self.authority.caller(&name),
                    None => self.authority.anonymous(Some(address.ip())),
                };
                let peer = Peer { address: Some(address), caller };
                let socket = Socket::Tls(Box::new(stream));
                return Some(Connection::new(socket, peer, self.place));
            }
            Ok(Err(error)) => error,
            Err(_) => io::Error::new(io::ErrorKind::TimedOut, "it took too long"),
        };
        if error.kind() == io::ErrorKind::UnexpectedEof {
            // A probe that only looks whether the port is open, most likely.
            tracing::debug!(%address, "connection closed before its tls handshake ended");
            return None;
        }
        self.authority.refusals.count(Reason::Handshake, |unsaid| {
            tracing::warn!(%address, %error, unsaid, "tls handshake failed");
        });
        None
    }
}

#[cfg(test)]
mod tests {
    use arc_swap::ArcSwapOption;
    use futures::StreamExt as _;
    use rcgen::generate_simple_self_signed;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

    use super::*;
    use crate::crypto::provider;
    use crate::refusals::Refusals;

    #[tokio::test]
    async fn slow_handshakes_give_way_where_there_is_no_room_for_more() {
        let issued = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(issued.cert.der().clone()).unwrap();
        let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
        let server = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![issued.cert.der().clone()], key)
            .unwrap();
        let client = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let refusals = Arc::new(Refusals::new());
        let authority = Authority {
            domain: "test.v1",
            rules: None,
            buckets: None,
            refusals: Arc::clone(&refusals),
        };
        let incoming = Incoming {
            authority: Arc::new(authority),
            tls: Some(Arc::new(ArcSwapOption::from_pointee(server))),
            places: Arc::new(Semaphore::new(100)),
            most_handshakes: 3,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut connections = Box::pin(connections(incoming, listener, CancellationToken::new()));
        let mut slow = Vec::new();
        for _ in 0..3 {
            slow.push(TcpStream::connect(address).await.unwrap());
        }
        let begun = Instant::now();
        let connect = async {
            let socket = TcpStream::connect(address).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            TlsConnector::from(Arc::new(client)).connect(name, socket).await.unwrap()
        };
        let (connected, accepted) = tokio::join!(connect, connections.next());
        assert!(accepted.unwrap().is_ok());
        drop(connected);
        assert!(begun.elapsed() < HANDSHAKE_TIMEOUT, "it waited for the slow ones");
        assert_eq!(refusals.counts().of(Reason::Handshake), 1);
    }
}
