//! What `make bench` measures with: load, its limits, and the report.
//!
//! - [`load`] keeps so many calls in flight and times each; [`flow`] counts what a stream moves
//! - [`echo`] the limit of gRPC, in a process of its own; [`raw`] the limit of Redis; [`bare`] the
//!   limit of gRPC before Redis; [`serving`] how both are served; [`call_scripts`] what Redis does
//!   for a Call
//! - [`world`] what is measured; [`instance`] an event store by itself, to compare two;
//!   [`queue_instance`] a message queue by itself
//! - [`rows`] what is measured, and what each is held against; [`processor`] what it takes of the
//!   processor; [`report`] the outcome

pub mod bare;
pub mod call_scripts;
pub mod echo;
pub mod flow;
pub mod instance;
pub mod load;
pub mod processor;
pub mod queue_instance;
pub mod raw;
pub mod report;
pub mod rows;
pub mod serving;
pub mod world;

/// Bytes of each event's data and each message's body.
pub const PAYLOAD: usize = 256;
