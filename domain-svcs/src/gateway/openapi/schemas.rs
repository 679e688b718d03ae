//! The schemas of entities, made of the types that the services use, in three
//! forms: as they are created, as they are changed, and as they are kept.

use serde_json::{Map, Value, json};
use utoipa::PartialSchema;

use crate::model::{
    Billing, Cart, Customer, Delivered, ENTITY_ID, Inventory, Kind, Order, OrderStatus, Product,
    Shipping,
};

/// A reference to a schema of the document.
pub(super) fn schema(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// An answer that has this result.
pub(super) fn result_of(result: &Value) -> Value {
    json!({
        "type": "object", "required": ["result"], "additionalProperties": false,
        "properties": { "result": result },
    })
}

fn of<T: PartialSchema>() -> Value {
    // A schema is a tree of plain values, which always is JSON.
    serde_json::to_value(T::schema()).unwrap_or_default()
}

fn fields(kind: Kind) -> Value {
    match kind {
        Kind::Customer => of::<Customer>(),
        Kind::Product => of::<Product>(),
        Kind::Inventory => of::<Inventory>(),
        Kind::Cart => of::<Cart>(),
        Kind::Order => of::<Order>(),
        Kind::Billing => of::<Billing>(),
        Kind::Shipping => of::<Shipping>(),
    }
}

fn or_null(schema: &Value) -> Value {
    json!({ "oneOf": [schema, { "type": "null" }] })
}

/// All of them.
pub(super) fn all() -> Map<String, Value> {
    let mut all = Map::new();
    for kind in Kind::ALL {
        let name = format!("{kind:?}");
        all.insert(format!("New{name}"), written(kind, true));
        all.insert(format!("{name}Changes"), written(kind, false));
        all.insert(name, kept(kind));
    }
    all.insert("OrderStatus".to_owned(), of::<OrderStatus>());
    all.insert("Delivered".to_owned(), of::<Delivered>());
    all.insert("Mail".to_owned(), mail());
    all.insert("Report".to_owned(), report());
    all.insert("OrderReport".to_owned(), order_report());
    all.insert(
        "Error".to_owned(),
        json!({
            "type": "object", "required": ["error"], "additionalProperties": false,
            "properties": { "error": { "type": "string", "description": "What is wrong, for people." } },
        }),
    );
    all
}

/// As clients write it. What they may leave out is not required; unknown fields
/// are refused.
fn written(kind: Kind, new: bool) -> Value {
    let mut object = fields(kind);
    object["additionalProperties"] = false.into();
    if kind == Kind::Shipping {
        object["properties"]["delivered"] = json!({
            "oneOf": [schema("Delivered"), { "type": "boolean" }, { "type": "null" }],
            "description": "When it arrived; true for now.",
        });
    }
    if !new {
        object["properties"][ENTITY_ID] =
            json!({ "type": "string", "description": "The one in the path, if it is given." });
        if let Some(object) = object.as_object_mut() {
            object.remove("required");
        }
    }
    object
}

/// As it is kept: with its id, and all fields there.
fn kept(kind: Kind) -> Value {
    let mut object = fields(kind);
    object["additionalProperties"] = false.into();
    object["properties"][ENTITY_ID] = json!({ "type": "string", "description": "Identifies it." });
    let names: Vec<_> =
        object["properties"].as_object().into_iter().flat_map(Map::keys).cloned().collect();
    object["required"] = names.into();
    object
}

fn mail() -> Value {
    json!({
        "type": "object", "required": ["to", "msg", "sent"], "additionalProperties": false,
        "description": "A mail that was sent.",
        "properties": {
            "to": { "type": "string", "description": "The address." },
            "msg": { "type": "string", "description": "The text." },
            "sent": { "type": ["number", "null"], "description": "When, in seconds since 1970." },
        },
    })
}

fn report() -> Value {
    let mut properties = Map::new();
    for kind in Kind::ALL {
        let items = schema(&format!("{kind:?}"));
        properties.insert(kind.plural().to_owned(), json!({ "type": "array", "items": items }));
    }
    properties.insert("mails".to_owned(), json!({ "type": "array", "items": schema("Mail") }));
    let names: Vec<_> = properties.keys().cloned().collect();
    json!({
        "type": "object", "required": names, "additionalProperties": false,
        "properties": properties,
    })
}

fn order_report() -> Value {
    let mut order = kept(Kind::Order);
    let list = |items: &Value| json!({ "type": "array", "items": items });
    for (name, schema) in [
        ("cart", or_null(&schema("Cart"))),
        ("customer", or_null(&schema("Customer"))),
        ("products", list(&or_null(&schema("Product")))),
        ("billings", list(&schema("Billing"))),
        ("shippings", list(&schema("Shipping"))),
    ] {
        order["properties"][name] = schema;
        if let Some(required) = order["required"].as_array_mut() {
            required.push(name.into());
        }
    }
    order["description"] =
        "An order with all that belongs to it; null stands for what is deleted.".into();
    order
}
