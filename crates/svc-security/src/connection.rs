//! A connection: a socket, with or without TLS, that can be cut from outside, and what is known of
//! who is at the other end.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use crate::caller::Caller;

/// Who is at the other end of a connection. In the extensions of each of its requests.
#[derive(Clone, Debug)]
pub struct Peer {
    /// From where, unless it was gone too soon to tell.
    pub address: Option<SocketAddr>,
    /// Whom its certificate names; else anonymous.
    pub caller: Caller,
}

/// A socket whose reads and writes fail once it is cut.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    peer: Peer,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    is_cut: bool,
    /// Its place among the connections that may be open.
    _place: OwnedSemaphorePermit,
}

#[derive(Debug)]
pub(crate) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

macro_rules! socket {
    ($self:ident, $socket:ident => $call:expr) => {
        match &mut $self.socket {
            Socket::Plain(socket) => {
                let $socket = Pin::new(socket);
                $call
            }
            Socket::Tls(socket) => {
                let $socket = Pin::new(&mut **socket);
                $call
            }
        }
    };
}

impl Connection {
    pub(crate) fn new(
        socket: Socket,
        peer: Peer,
        cut: &CancellationToken,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let cut = Box::pin(cut.clone().cancelled_owned());
        Self { socket, peer, cut, is_cut: false, _place: place }
    }

    /// Asked only where the socket itself has nothing to do, so that a busy connection does not pay
    /// for it.
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

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = socket!(self, socket => socket.poll_read(cx, buf));
        self.or_cut(cx, polled)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = socket!(self, socket => socket.poll_write(cx, buf));
        self.or_cut(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = socket!(self, socket => socket.poll_write_vectored(cx, bufs));
        self.or_cut(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.socket {
            Socket::Plain(socket) => socket.is_write_vectored(),
            Socket::Tls(socket) => socket.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = socket!(self, socket => socket.poll_flush(cx));
        self.or_cut(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = socket!(self, socket => socket.poll_shutdown(cx));
        self.or_cut(cx, polled)
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.peer.clone()
    }
}
