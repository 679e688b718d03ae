//! A small SMTP server that keeps what it gets, and refuses, holds or goes away when it is told to.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::ports::Port;
use crate::watch;

/// What is done with mails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Answer {
    /// They are taken.
    Take,
    /// They are refused with this, as in `451 4.3.0 later`.
    Refuse(&'static str),
    /// They are taken, and who sent them never hears of it.
    Silence,
}

/// A mail as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// Who it is for, as the envelope says.
    pub to: String,
    /// Headers and body.
    pub text: String,
}

impl Received {
    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.split("\r\n\r\n").next().unwrap_or_default();
        head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

#[derive(Debug)]
struct State {
    answer: Answer,
    received: Vec<Received>,
    refused: usize,
    logins: Vec<String>,
}

/// A running server.
#[derive(Debug)]
pub struct SmtpServer {
    port: Port,
    state: Arc<Mutex<State>>,
    serving: JoinSet<()>,
}

impl SmtpServer {
    /// Starts one that takes everything.
    ///
    /// # Errors
    /// When it can't listen.
    pub async fn start() -> anyhow::Result<Self> {
        let state = State { answer: Answer::Take, received: vec![], refused: 0, logins: vec![] };
        let mut server = Self {
            port: Port::reserve()?,
            state: Arc::new(Mutex::new(state)),
            serving: JoinSet::new(),
        };
        server.listen().await?;
        Ok(server)
    }

    /// Listens again after [`SmtpServer::go_away`].
    ///
    /// # Errors
    /// When it can't.
    pub async fn listen(&mut self) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.port.address()).await?;
        let state = self.state.clone();
        self.serving.spawn(async move {
            // Connections end with the task that accepts them.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let state = state.clone();
                connections.spawn(async move {
                    let _ = serve(stream, &state).await;
                });
            }
        });
        Ok(())
    }

    /// Closes all connections and refuses new ones.
    pub async fn go_away(&mut self) {
        self.serving.shutdown().await;
    }

    /// Where it listens: `smtp://127.0.0.1:…`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("smtp://{}", self.port.address())
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to do with mails from now on.
    pub fn answer(&self, answer: Answer) {
        self.state().answer = answer;
    }

    /// What came and was taken.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.state().received.clone()
    }

    /// How many were refused.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.state().refused
    }

    /// What clients logged in with, decoded.
    #[must_use]
    pub fn logins(&self) -> Vec<String> {
        self.state().logins.clone()
    }

    /// Waits until so many mails came.
    ///
    /// # Errors
    /// When they did not in time.
    pub async fn wait_for(&self, mails: usize, limit: Duration) -> anyhow::Result<Vec<Received>> {
        watch::until("mails at the SMTP server", limit, || async {
            let received = self.received();
            anyhow::ensure!(received.len() >= mails, "{} of {mails}", received.len());
            Ok(received)
        })
        .await
    }
}

async fn serve(stream: TcpStream, state: &Mutex<State>) -> anyhow::Result<()> {
    let (reading, mut writing) = stream.into_split();
    let mut lines = BufReader::new(reading).lines();
    let mut to = String::new();
    writing.write_all(b"220 test ESMTP\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = match verb.as_str() {
            "EHLO" => "250-test\r\n250-8BITMIME\r\n250 AUTH PLAIN".to_owned(),
            "AUTH" => {
                let secret = line.rsplit(' ').next().unwrap_or_default();
                lock().logins.push(secret.to_owned());
                "235 2.7.0 welcome".to_owned()
            }
            "RCPT" => {
                let address = line.split(['<', '>']).nth(1).context("RCPT without an address")?;
                to = address.to_owned();
                let mut state = lock();
                if let Answer::Refuse(why) = state.answer {
                    state.refused += 1;
                    why.to_owned()
                } else {
                    "250 2.1.5 known".to_owned()
                }
            }
            "DATA" => {
                writing.write_all(b"354 go on\r\n").await?;
                let mut text = String::new();
                while let Some(line) = lines.next_line().await? {
                    if line == "." {
                        break;
                    }
                    text += line.strip_prefix('.').unwrap_or(&line);
                    text += "\r\n";
                }
                let answer = {
                    let mut state = lock();
                    state.received.push(Received { to: std::mem::take(&mut to), text });
                    state.answer
                };
                if answer == Answer::Silence {
                    std::future::pending::<()>().await;
                }
                "250 2.0.0 taken".to_owned()
            }
            "QUIT" => {
                writing.write_all(b"221 2.0.0 bye\r\n").await?;
                return Ok(());
            }
            _ => "250 2.0.0 fine".to_owned(),
        };
        writing.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
    Ok(())
}
