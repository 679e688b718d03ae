//! What both front services need of Redis, and no more: connections that come
//! back by themselves, scripts, errors by class, blocking connections of their
//! own, and bells (pub/sub).
//!
//! Nothing here knows a key name or what is stored. Nothing outside of this
//! crate opens a connection, so Cluster can be added behind [`Link`] without a
//! change in the services: every script call already names its keys first, and
//! all of the keys of a call share a hash tag.

mod access;
pub mod blocking;
pub mod config;
pub mod durability;
pub mod error;
pub mod link;
mod meter;
pub mod probe;
pub mod pubsub;
pub mod rights;
pub mod script;
mod sentinel;
mod supervisor;
#[cfg(feature = "test-util")]
pub mod test_util;
pub mod values;

pub use blocking::{Blocking, BlockingConnection};
pub use config::{RedisArgs, RedisUrl};
pub use durability::{Durability, Need};
pub use error::LinkError;
pub use link::{Lane, Link};
pub use probe::Probe;
pub use pubsub::{Bell, Bells, Mail, Mailbox};
/// The building blocks of commands, so that services need not name the crate.
pub use redis::{Cmd, Pipeline, Value, cmd, pipe};
pub use rights::Rights;
pub use script::{Call, Script};
pub use svc_runtime::problem::Problem;
