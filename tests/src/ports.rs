//! Ports that stay free until the program they are meant for takes them, also after a restart.

use std::net::TcpListener;

use anyhow::{Context as _, bail};

/// Below the range from which the kernel takes ports for outgoing connections: none of these can
/// be taken by a client that connects somewhere.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// Where the reservation is held: another address of this machine, so that the port itself stays
/// free on 127.0.0.1.
const HELD_ON: &str = "127.83.0.1";

/// A port on 127.0.0.1 that no other test uses as long as this lives.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _held: TcpListener,
}

impl Port {
    /// Reserves one.
    ///
    /// # Errors
    /// When no port is left.
    pub fn reserve() -> anyhow::Result<Self> {
        let mut row = Self::reserve_row(1)?;
        row.pop().context("a row of one")
    }

    /// Reserves so many with numbers that follow each other.
    ///
    /// # Errors
    /// When there is no such row.
    pub fn reserve_row(length: usize) -> anyhow::Result<Vec<Self>> {
        for _ in 0..1_000 {
            let first = rand::random_range(RANGE);
            let row: Option<Vec<Self>> = (first..).take(length).map(Self::hold).collect();
            if let Some(row) = row {
                return Ok(row);
            }
        }
        bail!("no {length} free ports between {} and {}", RANGE.start, RANGE.end)
    }

    fn hold(number: u16) -> Option<Self> {
        let held = TcpListener::bind((HELD_ON, number)).ok()?;
        TcpListener::bind(("127.0.0.1", number)).ok()?;
        Some(Self { number, _held: held })
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Where a program listens on it: `127.0.0.1:port`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }

    /// What a client connects to: `http://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }
}
