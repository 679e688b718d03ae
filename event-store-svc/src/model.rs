//! The domain's types. Requests become these at the edge, so that nothing behind it sees a value
//! that was not checked.

pub mod append;
pub mod event;
pub mod filter;
pub mod group;
pub mod name;
pub mod position;
pub mod receipt;
pub mod start;
pub mod stored_event;
pub mod topic;

pub use append::{Append, AppendOrder, Appended, Durability, Expectation, Expected};
pub use event::{EventView, NewEvent};
pub use filter::EventFilter;
pub use group::{
    Consumer, Delivery, Group, GroupSettings, NackAction, Ordering, ParkedEvent, ParkedPlace,
    ParkedSelection, Settle,
};
pub use name::{Name, Subject};
pub use position::Position;
pub use receipt::Receipt;
pub use start::{Direction, Start};
pub use stored_event::StoredEvent;
pub use topic::{Retention, Topic, TopicSettings};
