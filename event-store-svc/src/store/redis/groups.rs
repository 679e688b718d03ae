//! Consumer groups: `admin` creates and describes them, `deliver` and `settle` are the two scripts
//! of the hot path, `runner` feeds the members at this replica, `give_back` returns what they do not use, `parked`
//! is what was set aside.

mod admin;
mod deliver;
mod give_back;
mod parked;
mod runner;
mod settings;
mod settle;

pub use give_back::Fetchers;
pub use runner::{GroupMember, Runners};
pub use settle::SettleWork;

use redis_link::Value;

use crate::error::StoreError;
use crate::model::Name;
use crate::store::Result;

/// What the scripts of groups answer when the topic (nil) or the group (0) is missing.
fn existing(answer: Value, topic: &Name, group: &Name) -> Result<Value> {
    match answer {
        Value::Nil => Err(StoreError::TopicNotFound(topic.clone())),
        Value::Int(0) => {
            Err(StoreError::GroupNotFound { topic: topic.clone(), group: group.clone() })
        }
        found => Ok(found),
    }
}
