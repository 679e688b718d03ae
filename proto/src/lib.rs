//! The contract: stubs generated from `eventstore/v1` and `messagequeue/v1`.
//!
//! Programs that use the services take [`eventstore::v1`] and [`messagequeue::v1`]; the services
//! themselves take [`server`], where events and messages are opaque bytes (see `build.rs`).

#![allow(
    missing_debug_implementations,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::wildcard_imports,
    reason = "generated code"
)]

/// Appends, reads and shares events.
pub mod eventstore {
    /// Messages and client stubs of package `eventstore.v1`.
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/client/eventstore.v1.rs"));

        /// The compiled protos, for gRPC reflection.
        pub const FILE_DESCRIPTOR_SET: &[u8] =
            include_bytes!(concat!(env!("OUT_DIR"), "/eventstore.bin"));
    }
}

/// Sends, receives and answers messages.
pub mod messagequeue {
    /// Messages and client stubs of package `messagequeue.v1`.
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/client/messagequeue.v1.rs"));

        /// The compiled protos, for gRPC reflection.
        pub const FILE_DESCRIPTOR_SET: &[u8] =
            include_bytes!(concat!(env!("OUT_DIR"), "/messagequeue.bin"));
    }
}

/// What the services implement: the same messages on the wire, with payloads as bytes.
pub mod server {
    /// Package `eventstore.v1`; fields of type `Event` and `RecordedEvent` are encoded bytes.
    pub mod eventstore {
        /// Messages and service traits.
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/server/eventstore.v1.rs"));
        }
    }

    /// Package `messagequeue.v1`; fields of type `Message` and `ReplyContent` are encoded bytes.
    pub mod messagequeue {
        /// Messages and service traits.
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/server/messagequeue.v1.rs"));
        }
    }
}
