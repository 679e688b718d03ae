//! Accepted connections, until told to stop: an accept loop that survives what
//! accept may fail with, and a socket that can be cut from outside.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{Stream, stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

/// How long to wait after accept failed for want of files or memory: until then
/// it would fail at once again, in a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The connections that `listener` accepts. Never ends and never fails. Each is
/// cut when `cut` is cancelled.
pub fn connections(
    listener: TcpListener,
    cut: CancellationToken,
) -> impl Stream<Item = io::Result<Cuttable<TcpStream>>> {
    stream::unfold((listener, cut), |(listener, cut)| async move {
        let (socket, _) = accept(&listener).await;
        let connection = Cuttable::new(socket, &cut);
        Some((Ok(connection), (listener, cut)))
    })
}

/// The next connection. Never fails: it waits until connections can be accepted again.
pub async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                if let Err(error) = socket.set_nodelay(true) {
                    // Gone before it was accepted.
                    tracing::debug!(%error, %peer, "connection lost at accept");
                    continue;
                }
                return (socket, peer);
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections for now");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether the error tells of one client that left, not of the listener.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// A socket whose reads and writes fail once it is cut.
#[derive(Debug)]
pub struct Cuttable<S> {
    socket: S,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    is_cut: bool,
}

impl<S> Cuttable<S> {
    /// Cut when the token is cancelled.
    pub fn new(socket: S, cut: &CancellationToken) -> Self {
        Self { socket, cut: Box::pin(cut.clone().cancelled_owned()), is_cut: false }
    }

    /// Asked only where the socket itself has nothing to do, so that a busy
    /// connection does not pay for it.
    fn or_cut<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_pending() && (self.is_cut || self.cut.as_mut().poll(cx).is_ready()) {
            self.is_cut = true;
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        polled
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Cuttable<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_read(cx, buf);
        self.or_cut(cx, polled)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cuttable<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.or_cut(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.or_cut(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_flush(cx);
        self.or_cut(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_shutdown(cx);
        self.or_cut(cx, polled)
    }
}

impl<S: Connected> Connected for Cuttable<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.socket.connect_info()
    }
}
