//! What the system's tests, `make up` and the benchmarks share: finding the programs, starting and
//! ending them, telling when they are ready, and reaching them as a client would.
//!
//! - [`programs`] where the built programs are, [`topology`] which make up the system
//! - [`process`] one running program, [`health`] whether it is ready, [`ports`] where it listens,
//!   [`up_ports`] where all of `make up` does
//! - [`system`] a private Redis, the services and the shop, for one test
//! - [`clients`], [`grpcurl`], [`rest`] ways to speak with it; [`smtp`] where it sends mails to
//! - [`otlp`] where it sends traces to
//! - [`example`] the example clients in other languages, [`newer`] what they meet later
//! - [`failure`] what an error tells
//! - [`writers`] clients that write through outages, [`readers`] finding everything again
//! - [`balanced`] a client over several replicas, and its retries
//! - [`quiet`] whether everything is done
//! - [`watch`] waiting for what can be seen
//! - [`console`] the commands shown in the docs, [`api_docs`] the API reference
//! - [`bench`](mod@bench) what `make bench` measures with

pub mod api_docs;
pub mod balanced;
pub mod bench;
pub mod clients;
pub mod console;
pub mod example;
pub mod failure;
pub mod grpcurl;
pub mod health;
pub mod newer;
pub mod otlp;
pub mod ports;
pub mod process;
pub mod programs;
pub mod quiet;
pub mod readers;
pub mod rest;
pub mod smtp;
pub mod system;
pub mod topology;
pub mod up_ports;
pub mod watch;
pub mod writers;
