//! A network that can be cut, stalled and healed: a TCP proxy in front of one address.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What the network does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mode {
    /// Bytes pass.
    Open,
    /// Connections stay, nothing passes.
    Stalled,
    /// Connections are closed, new ones too.
    Cut,
}

#[derive(Clone, Copy, Debug)]
struct State {
    mode: Mode,
    /// How often it was cut: a connection from before the last time is closed.
    cuts: u64,
    /// A connection falls silent when an answer with this text is about to pass.
    swallow: Option<&'static str>,
}

/// A proxy; ends, with its connections, when dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: Arc<watch::Sender<State>>,
    _accepting: JoinSet<()>,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 for connections to `target` (`host:port`).
    pub async fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (state, watched) = watch::channel(State { mode: Mode::Open, cuts: 0, swallow: None });
        let target = target.to_owned();
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                connections.spawn(connect(client, target.clone(), watched.clone()));
            }
        });
        Self { port, state: Arc::new(state), _accepting: accepting }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Closes all connections, and new ones at once.
    pub fn cut(&self) {
        self.state.send_modify(|state| {
            (state.mode, state.swallow) = (Mode::Cut, None);
            state.cuts += 1;
        });
    }

    /// Lets nothing pass, without a word to either side.
    pub fn stall(&self) {
        self.state.send_modify(|state| state.mode = Mode::Stalled);
    }

    /// Has a connection fall silent, until it is cut, instead of passing an answer with this text.
    pub fn swallow(&self, text: &'static str) {
        self.state.send_modify(|state| state.swallow = Some(text));
    }

    /// Lets everything pass again; what was held back goes on.
    pub fn heal(&self) {
        self.state.send_modify(|state| (state.mode, state.swallow) = (Mode::Open, None));
    }
}

async fn connect(client: TcpStream, target: String, state: watch::Receiver<State>) {
    if state.borrow().mode == Mode::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // The end of either direction ends both.
    tokio::select! {
        () = pass(from_client, to_server, state.clone(), false) => {}
        () = pass(from_server, to_client, state, true) => {}
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    answers: bool,
) {
    let mut buffer = vec![0; 64 * 1024];
    let cuts = state.borrow().cuts;
    let mut silent = false;
    loop {
        let now = *state.borrow_and_update();
        if now.cuts > cuts {
            return;
        }
        if silent || now.mode == Mode::Stalled {
            if state.changed().await.is_err() {
                return;
            }
            continue;
        }
        tokio::select! {
            // What was told before bytes came holds for them.
            biased;
            changed = state.changed() => if changed.is_err() { return },
            read = from.read(&mut buffer) => {
                let Ok(length @ 1..) = read else { return };
                let holds = |text: &str| {
                    buffer[..length].windows(text.len()).any(|part| part == text.as_bytes())
                };
                silent = answers && now.swallow.is_some_and(holds);
                if !silent && to.write_all(&buffer[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn it_passes_stalls_and_cuts() {
        let proxy = Proxy::start(&echo().await).await;
        let connect = || TcpStream::connect(("127.0.0.1", proxy.port()));
        let mut stream = connect().await.unwrap();
        let mut byte = [0];
        stream.write_all(b"a").await.unwrap();
        stream.read_exact(&mut byte).await.unwrap();

        proxy.stall();
        stream.write_all(b"b").await.unwrap();
        let quiet = std::time::Duration::from_millis(50);
        let held = tokio::time::timeout(quiet, stream.read_exact(&mut byte)).await;
        assert!(held.is_err(), "something passed");
        proxy.heal();
        stream.read_exact(&mut byte).await.unwrap();
        assert_eq!(&byte, b"b");

        proxy.cut();
        assert_eq!(stream.read(&mut byte).await.unwrap_or(0), 0);
        proxy.heal();
        connect().await.unwrap().write_all(b"c").await.unwrap();
    }
}
