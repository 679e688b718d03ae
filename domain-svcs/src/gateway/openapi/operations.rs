//! What each route takes and answers.

use serde_json::{Value, json};

use super::schemas::{result_of, schema};
use crate::model::Kind;

/// What a request can fail with, for the document.
#[derive(Clone, Copy)]
enum Error {
    Invalid,
    NotFound,
    Late,
    Conflict,
    TooLarge,
    Mistake,
    Away,
    Slow,
}

/// A read may find the services behind it away or slow.
const READ: &[Error] = &[Error::Mistake, Error::Away, Error::Slow];
const READ_ONE: &[Error] = &[Error::Invalid, Error::Mistake, Error::Away, Error::Slow];
const CREATE: &[Error] = &[
    Error::Invalid,
    Error::Late,
    Error::Conflict,
    Error::TooLarge,
    Error::Mistake,
    Error::Away,
    Error::Slow,
];
const CHANGE: &[Error] = &[
    Error::Invalid,
    Error::NotFound,
    Error::Late,
    Error::Conflict,
    Error::TooLarge,
    Error::Mistake,
    Error::Away,
    Error::Slow,
];
const DELETE: &[Error] =
    &[Error::Invalid, Error::NotFound, Error::Conflict, Error::Mistake, Error::Away, Error::Slow];

impl Error {
    /// Status, what it means, an example of what is said.
    fn told(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Invalid => (
                "400",
                "The request is wrong; fields that are wrong are named, all of them.",
                "price: must be a whole number from 0 to 1,000,000,000,000",
            ),
            Self::NotFound => ("404", "There is no such entity.", "there is no product 42"),
            Self::Late => (
                "408",
                "The request's body did not come in time.",
                "the request body did not come in time",
            ),
            Self::Conflict => (
                "409",
                "The state of the shop does not allow it, or the idempotency key was used for \
                 another request.",
                "the order is CREATED: only one that is IN_STOCK can be paid",
            ),
            Self::TooLarge => {
                ("413", "The request's body is too large.", "the request body is too large")
            }
            Self::Mistake => ("500", "The gateway made a mistake.", "the gateway made a mistake"),
            Self::Away => (
                "503",
                "Something behind the gateway is away. Safe to repeat with the same idempotency key.",
                "the message queue is not available: try again",
            ),
            Self::Slow => (
                "504",
                "The service that handles it did not answer in time; a command may still be \
                 carried out. Safe to repeat with the same idempotency key.",
                "the service did not answer in time; the command may still be carried out",
            ),
        }
    }
}

/// Parameters that several operations have.
pub(super) fn parameters() -> Value {
    json!({
        "Id": {
            "name": "id", "in": "path", "required": true,
            "description": "The entity_id.",
            "schema": { "type": "string" },
        },
        "IdempotencyKey": {
            "name": "Idempotency-Key", "in": "header", "required": false,
            "description": "Any text, new for each request. A request that is repeated with the \
                same key is carried out once, and answered as the first time.",
            "schema": { "type": "string" },
        },
        "Traceparent": {
            "name": "traceparent", "in": "header", "required": false,
            "description": "The trace that the request belongs to (W3C Trace Context). It goes on \
                through commands, events and mails.",
            "schema": { "type": "string", "pattern": "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$" },
        },
    })
}

/// An operation with its answers. `name` is its id, which generators of clients
/// make a function's name of.
fn operation(
    tag: &str,
    name: &str,
    summary: &str,
    parameters: &[&str],
    result: &Value,
    errors: &[Error],
) -> Value {
    let mut responses = json!({
        "200": { "description": "Done.", "content": content(&result_of(result)) },
    });
    for error in errors {
        let (status, description, example) = error.told();
        let mut content = content(&schema("Error"));
        content["application/json"]["example"] = json!({ "error": example });
        responses[status] = json!({ "description": description, "content": content });
    }
    let parameters: Vec<_> = parameters
        .iter()
        .map(|name| json!({ "$ref": format!("#/components/parameters/{name}") }))
        .collect();
    json!({
        "tags": [tag], "operationId": name, "summary": summary,
        "parameters": parameters, "responses": responses,
    })
}

fn content(schema: &Value) -> Value {
    json!({ "application/json": { "schema": schema } })
}

fn with_body(mut operation: Value, schema: &Value, example: Value) -> Value {
    let mut content = content(schema);
    content["application/json"]["example"] = example;
    operation["requestBody"] = json!({ "required": true, "content": content });
    operation
}

fn array(items: &Value) -> Value {
    json!({ "type": "array", "items": items })
}

fn string(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

/// An entity to create, as an example.
fn example(kind: Kind) -> Value {
    match kind {
        Kind::Customer => json!({ "name": "Ann", "email": "ann@example.com" }),
        Kind::Product => json!({ "name": "Pen", "price": 3 }),
        Kind::Inventory => json!({ "product_id": "5f0c…", "amount": 100 }),
        Kind::Cart => json!({ "customer_id": "9a1e…", "product_ids": ["5f0c…", "5f0c…"] }),
        Kind::Order => json!({ "cart_id": "77b2…" }),
        Kind::Billing => json!({ "order_id": "c3d4…", "amount": 6 }),
        Kind::Shipping => json!({ "order_id": "c3d4…", "delivered": true }),
    }
}

fn patch(kind: Kind) -> Value {
    match kind {
        Kind::Customer => json!({ "email": "ann@example.org" }),
        Kind::Product => json!({ "price": 4 }),
        Kind::Inventory => json!({ "amount": 120 }),
        Kind::Cart => json!({ "product_ids": ["5f0c…"] }),
        Kind::Order => json!({ "status": "CREATED" }),
        Kind::Billing => json!({ "amount": 6 }),
        Kind::Shipping => json!({ "delivered": true }),
    }
}

/// The operations of one kind of entity.
pub(in crate::gateway) struct Entities {
    pub(in crate::gateway) list: Value,
    pub(in crate::gateway) send: Value,
    pub(in crate::gateway) create: Value,
    pub(in crate::gateway) get: Value,
    pub(in crate::gateway) change: Value,
    pub(in crate::gateway) delete: Value,
}

pub(in crate::gateway) fn entities(kind: Kind) -> Entities {
    const WRITE: &[&str] = &["IdempotencyKey", "Traceparent"];
    const WRITE_ONE: &[&str] = &["Id", "IdempotencyKey", "Traceparent"];
    let (one, many, name) = (kind.name(), kind.plural(), format!("{kind:?}"));
    let new = schema(&format!("New{name}"));
    let one_or_many = json!({ "oneOf": [new, array(&new)] });
    let op = |verb: &str, summary: String, parameters, result: &Value, errors| {
        operation(many, verb, &summary, parameters, result, errors)
    };
    let ids = array(&string("An entity_id."));
    let done = json!({ "const": true });
    let maybe = json!({ "oneOf": [schema(&name), { "type": "null" }] });
    Entities {
        list: op(
            &format!("list_{many}"),
            format!("All {many}, oldest first"),
            &["Traceparent"],
            &array(&schema(&name)),
            READ,
        ),
        send: with_body(
            op(
                &format!("send_{many}"),
                format!("Creates {many} some time: answers the id of the message that says so"),
                WRITE,
                &string("The id of the message."),
                CREATE,
            ),
            &one_or_many,
            json!([example(kind)]),
        ),
        create: with_body(
            op(
                &format!("create_{one}"),
                format!("Creates one {one} (or a list of them), and waits until that is done"),
                WRITE,
                &ids,
                CREATE,
            ),
            &one_or_many,
            example(kind),
        ),
        get: op(
            &format!("get_{one}"),
            format!("One {one}; null when there is none of this id"),
            &["Id", "Traceparent"],
            &maybe,
            READ_ONE,
        ),
        change: with_body(
            op(
                &format!("update_{one}"),
                format!("Changes the given fields of one {one}"),
                WRITE_ONE,
                &done,
                CHANGE,
            ),
            &schema(&format!("{name}Changes")),
            patch(kind),
        ),
        delete: op(
            &format!("delete_{one}"),
            format!("Deletes one {one}"),
            WRITE_ONE,
            &done,
            DELETE,
        ),
    }
}

fn read(tag: &str, name: &str, summary: &str, result: &Value) -> Value {
    operation(tag, name, summary, &["Traceparent"], result, READ)
}

pub(in crate::gateway) fn unbilled() -> Value {
    let orders = json!({ "type": "object", "additionalProperties": schema("Order") });
    read("orders", "unbilled_orders", "Orders that may be paid and are not, by id", &orders)
}

pub(in crate::gateway) fn unshipped() -> Value {
    let orders = json!({ "type": "object", "additionalProperties": schema("Order") });
    read("orders", "unshipped_orders", "Orders that may be sent and are not, by id", &orders)
}

pub(in crate::gateway) fn delivered() -> Value {
    let shippings = array(&schema("Shipping"));
    read("orders", "delivered_orders", "Shippings that arrived", &shippings)
}

pub(in crate::gateway) fn mails() -> Value {
    read("reports", "sent_mails", "All mails that were sent, oldest first", &array(&schema("Mail")))
}

pub(in crate::gateway) fn report() -> Value {
    read("reports", "report", "Everything that there is", &schema("Report"))
}

pub(in crate::gateway) fn report_orders() -> Value {
    let summary = "All orders, each with all that belongs to it";
    read("reports", "report_orders", summary, &array(&schema("OrderReport")))
}

pub(in crate::gateway) fn livez() -> Value {
    operation("health", "livez", "The gateway runs", &[], &json!({ "const": "alive" }), &[])
}

pub(in crate::gateway) fn readyz() -> Value {
    let summary = "The gateway reaches the event store and the message queue";
    operation("health", "readyz", summary, &[], &json!({ "const": "ready" }), &[Error::Away])
}

pub(in crate::gateway) fn page() -> Value {
    json!({
        "tags": ["live"], "operationId": "page",
        "summary": "The page that shows the shop at work",
        "responses": { "200": { "description": "The page.", "content": { "text/html": {} } } },
    })
}

pub(in crate::gateway) fn websocket() -> Value {
    json!({
        "tags": ["live"], "operationId": "ws",
        "summary": "WebSocket: every event as it happens",
        "description": "Each message is a JSON object: `action` such as `order_created`, `data` as \
            the event has it, `ts` in seconds since 1970, `topic` and `position`. A listener that \
            is too slow is told `events_missed` and how many.",
        "responses": {
            "101": { "description": "The connection becomes a WebSocket." },
            "400": { "description": "The request is none for a WebSocket." },
            "426": { "description": "The connection cannot become a WebSocket." },
        },
    })
}
