//! How a service in front of Redis runs, which is the same for the event store and the message
//! queue: their flags ([`FrontArgs`]), and all around their handlers ([`Front`]): security, metrics,
//! traces, the admin port, readiness, serving and stopping.

mod args;
mod check;
mod collect;
mod front;
mod given;

pub use args::FrontArgs;
pub use check::{Checked, check};
pub use front::{Front, Package};
pub use given::{Given, parse};
pub use svc_observe::Service;
