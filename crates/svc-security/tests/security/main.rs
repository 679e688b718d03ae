//! Security as clients meet it: real certificates, tokens and connections to a real gRPC server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod client_side;
mod echo;
mod jwks_server;
mod jwt;
mod jwt_keys;
mod limits;
mod mutual_tls;
mod pki;
mod rotation;
mod server;
mod settings;
mod signing;
mod tls;
mod tokens;
