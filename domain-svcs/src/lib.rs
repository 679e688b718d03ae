//! OrderShop: a web shop made of small services, as an example of what the
//! event store and the message queue are for. Commands and queries travel over
//! the queue, facts over the event store, and nothing else is shared.
//!
//! - [`model`]: the entities, their rules, and the order's state machine
//! - [`service`]: the library that each service is built with
//! - [`shop`]: the domain services, crm and mail
//! - [`read_model`]: what is queried, projected from every topic
//! - [`gateway`]: REST and WebSocket for the outside
//! - [`scenario`]: a walk through the whole shop, over REST

pub mod gateway;
pub mod model;
pub mod read_model;
pub mod scenario;
pub mod service;
pub mod shop;
