//! How a service in front of Redis runs, which is the same for the event store and the message
//! queue: their flags ([`FrontArgs`]), and all around their handlers ([`Front`]): security, metrics,
//! traces, the admin port, readiness, serving and stopping.

mod args;
mod collect;
mod front;

pub use args::FrontArgs;
pub use front::{Front, Package};
pub use svc_observe::Service;
