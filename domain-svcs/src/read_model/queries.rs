//! The queries that the read model answers:
//!
//! | query | arguments | answer |
//! | --- | --- | --- |
//! | `get_entity` | `name`, `id` or `props` | the entity, or null |
//! | `get_entities` | `name`, `ids` or `props` or neither | a list, oldest first |
//! | `get_mails` | | a list, oldest first |
//! | `get_unbilled_orders`, `get_unshipped_orders` | | an object, by order id |
//! | `get_delivered_orders` | | a list of shippings |
//! | `get_progress` | | positions, and how many events and items they took to reach |
//!
//! `props` are fields and the values that they must have. Each takes `positions`
//! (an object, topic to position) to wait for. With `page: true` a list comes as
//! `{"items": […], "next": …}`, of a size that fits a message; the next page is
//! asked for with `after` set to `next`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::state::{Shop, Table};
use crate::model::{ENTITY_ID, Kind, Violation};
use crate::service::{Command, Commands, Failure, Position, Positions, Reader, Reply, unknown};

/// How long a query waits for the positions that it asks for.
const PATIENCE: Duration = Duration::from_secs(3);
/// What a page may weigh: half of what a message may.
const PAGE_BYTES: usize = 512 << 10;

/// What any query may say.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Arguments {
    name: Option<String>,
    id: Option<String>,
    ids: Option<Vec<String>>,
    props: Map<String, Value>,
    positions: Positions,
    page: bool,
    after: Option<Position>,
}

pub(super) struct Queries {
    pub(super) shop: Reader<Shop>,
}

impl Commands for Queries {
    async fn handle(&self, command: &Command) -> Result<Reply, Failure> {
        let arguments = match &command.body {
            Value::Null => Arguments::default(),
            body => Arguments::deserialize(body).map_err(|e| invalid("body", &e.to_string()))?,
        };
        self.shop.seen(&arguments.positions, PATIENCE).await?;
        if command.name == "get_progress" {
            return Ok(Reply::of(json!(self.shop.progress())));
        }
        answer(&self.shop.state(), command, &arguments).map(Reply::of)
    }
}

fn answer(shop: &Shop, command: &Command, arguments: &Arguments) -> Result<Value, Failure> {
    Ok(match command.name.as_str() {
        "get_entity" => {
            let table = shop.table(kind(arguments)?);
            match &arguments.id {
                Some(id) => table.get(id).cloned().unwrap_or_default(),
                None => {
                    let mut found = table.after(None).map(|(_, entity)| entity);
                    found.find(|e| matches(e, &arguments.props)).cloned().unwrap_or_default()
                }
            }
        }
        "get_entities" => {
            let table = shop.table(kind(arguments)?);
            match &arguments.ids {
                Some(ids) => {
                    let found = ids.iter().filter_map(|id| table.get(id)).cloned();
                    found.collect::<Vec<_>>().into()
                }
                None => list(table, arguments, |entity| matches(entity, &arguments.props)),
            }
        }
        "get_mails" => list(shop.mails(), arguments, |_| true),
        "get_unbilled_orders" => {
            by_id(list(shop.table(Kind::Order), arguments, |order| shop.is_unbilled(order)))
        }
        "get_unshipped_orders" => {
            by_id(list(shop.table(Kind::Order), arguments, |order| shop.is_unshipped(order)))
        }
        "get_delivered_orders" => {
            list(shop.table(Kind::Shipping), arguments, |shipping| !shipping["delivered"].is_null())
        }
        _ => return Err(unknown(command)),
    })
}

fn kind(arguments: &Arguments) -> Result<Kind, Failure> {
    arguments.name.as_deref().and_then(Kind::named).ok_or_else(|| {
        let names: Vec<_> = Kind::ALL.into_iter().map(Kind::name).collect();
        invalid("name", &format!("must be one of {}", names.join(", ")))
    })
}

fn invalid(field: &str, description: &str) -> Failure {
    Failure::invalid(vec![Violation {
        field: field.to_owned(),
        description: description.to_owned(),
    }])
}

fn matches(entity: &Value, props: &Map<String, Value>) -> bool {
    props.iter().all(|(field, value)| entity.get(field) == Some(value))
}

fn list(table: &Table, arguments: &Arguments, wanted: impl Fn(&Value) -> bool) -> Value {
    let found = table.after(arguments.after).filter(|(_, entity)| wanted(entity));
    if !arguments.page {
        return found.map(|(_, entity)| entity.clone()).collect::<Vec<_>>().into();
    }
    let (mut items, mut bytes, mut last, mut more) = (Vec::new(), 0, None, false);
    for (position, entity) in found {
        if bytes >= PAGE_BYTES {
            more = true;
            break;
        }
        bytes += entity.to_string().len() + 1;
        items.push(entity.clone());
        last = Some(position);
    }
    json!({ "items": items, "next": last.filter(|_| more) })
}

/// A list of entities as an object; a page stays what it is.
fn by_id(list: Value) -> Value {
    match list {
        Value::Array(entities) => entities
            .into_iter()
            .filter_map(|entity| Some((entity[ENTITY_ID].as_str()?.to_owned(), entity)))
            .collect::<Map<_, _>>()
            .into(),
        page => page,
    }
}
