//! What every service of this workspace needs, and none of it Redis: one way
//! to be configured, to tell its health, to serve gRPC, to stop, to
//! say what went wrong and what is wrong with a request, and to reach another service.

pub mod backoff;
pub mod checks;
pub mod client;
pub mod config;
pub mod credentials;
pub mod health;
pub mod incoming;
pub mod lane;
pub mod malformed;
pub mod names;
pub mod problem;
#[cfg(feature = "test-util")]
pub mod raw;
pub mod rpc_error;
pub mod serve;
pub mod shutdown;
pub mod threads;
pub mod turn;
