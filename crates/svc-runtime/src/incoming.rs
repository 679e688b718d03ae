//! Accepted connections, until told to stop: an accept loop that survives what
//! accept may fail with, and a socket that can be cut from outside.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// Whether it was asked if it writes vectors, see [`Cuttable::is_write_vectored`].
    was_asked: AtomicBool,
}

impl<S> Cuttable<S> {
    /// Cut when the token is cancelled.
    pub fn new(socket: S, cut: &CancellationToken) -> Self {
        let cut = Box::pin(cut.clone().cancelled_owned());
        Self { socket, cut, is_cut: false, was_asked: AtomicBool::new(false) }
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

    /// Not the first time. HTTP/2 asks when a connection begins, to know which payloads to copy
    /// together and which to write one by one: that are those above 256 bytes if vectors can be
    /// written, above 1 KiB if not. The answers of a batch are often between: one write for all of
    /// them beats a copy saved for each. What it writes is a vector in either case.
    fn is_write_vectored(&self) -> bool {
        self.was_asked.swap(true, Ordering::Relaxed) && self.socket.is_write_vectored()
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

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn vectors_are_written_but_not_promised_at_the_beginning() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dialled = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut peer, _) = accept(&listener).await;
        let mut socket = Cuttable::new(dialled, &CancellationToken::new());
        assert!(!socket.is_write_vectored());
        assert!(socket.is_write_vectored());
        let both = [IoSlice::new(b"head "), IoSlice::new(b"and payload")];
        assert_eq!(socket.write_vectored(&both).await.unwrap(), 16);
        let mut got = [0; 16];
        tokio::io::AsyncReadExt::read_exact(&mut peer, &mut got).await.unwrap();
        assert_eq!(&got, b"head and payload");
    }
}
