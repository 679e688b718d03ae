//! What the API layer and the engine speak of. Values of these types have been checked.

pub mod message;
pub mod name;
pub mod receipt;
pub mod settings;

pub use message::{Durability, MessageId, Outgoing, Priority};
pub use name::QueueName;
pub use receipt::Receipt;
pub use settings::{QueueSettings, SettingsChange};
