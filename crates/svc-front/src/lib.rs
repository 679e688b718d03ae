//! How a service in front of Redis runs, which is the same for the event store and the message
//! queue: their `main` ([`Program`]), their flags ([`FrontArgs`]), and all around their handlers
//! ([`Front`]): security, metrics, traces, the admin port, readiness, serving and stopping.

mod args;
mod check;
mod collect;
mod front;
mod given;
mod program;

pub use args::FrontArgs;
pub use front::{Front, Package};
pub use program::{Program, main, run, start};
pub use svc_observe::Service;
