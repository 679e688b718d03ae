//! What the API layer and the engine speak of. Values of these types have been checked.

pub mod message;
pub mod receipt;
pub mod settings;

pub use message::{Durability, MessageId, Outgoing, Priority};
pub use receipt::Receipt;
pub use settings::{QueueSettings, SettingsChange};
/// The name of a queue.
pub use svc_runtime::names::Name as QueueName;
