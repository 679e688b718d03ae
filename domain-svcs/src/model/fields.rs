//! What clients may write into an entity. Every fault is told with the field
//! that it is in, all of them at once.

use serde_json::{Map, Value};

use super::{ENTITY_ID, Kind, OrderStatus};

/// The longest name or id, in bytes.
const MAX_TEXT: usize = 256;
/// The most products in a cart.
const MAX_PRODUCTS: usize = 500;
/// Sums of a cart at this price stay far from overflow.
const MAX_WHOLE: u64 = 1_000_000_000_000;

/// What is wrong with a field.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    /// The field.
    pub field: String,
    /// What is wrong, and what would be right.
    pub description: String,
}

#[derive(Clone, Copy)]
enum Shape {
    Text,
    Email,
    Whole,
    Id,
    Ids,
    Status,
    Delivered,
}

struct Field {
    name: &'static str,
    shape: Shape,
    required: bool,
}

const fn required(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, required: true }
}

const fn optional(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, required: false }
}

fn fields(kind: Kind) -> &'static [Field] {
    match kind {
        Kind::Customer => {
            const { &[required("name", Shape::Text), required("email", Shape::Email)] }
        }
        Kind::Product => {
            const { &[required("name", Shape::Text), required("price", Shape::Whole)] }
        }
        Kind::Inventory => {
            const { &[required("product_id", Shape::Id), required("amount", Shape::Whole)] }
        }
        Kind::Cart => {
            const { &[required("customer_id", Shape::Id), required("product_ids", Shape::Ids)] }
        }
        Kind::Order => {
            const { &[required("cart_id", Shape::Id), optional("status", Shape::Status)] }
        }
        Kind::Billing => {
            const { &[required("order_id", Shape::Id), required("amount", Shape::Whole)] }
        }
        Kind::Shipping => {
            const { &[required("order_id", Shape::Id), optional("delivered", Shape::Delivered)] }
        }
    }
}

/// The fields of a new entity of this kind, without what means "nothing".
///
/// # Errors
/// What is wrong with them.
pub fn check_new(kind: Kind, value: &Value) -> Result<Map<String, Value>, Vec<Violation>> {
    let mut violations = Vec::new();
    let object = check(kind, value, &mut violations);
    for field in fields(kind).iter().filter(|field| field.required) {
        if object.is_some_and(|object| !object.contains_key(field.name)) {
            violations.push(violation(field.name, "is required"));
        }
    }
    if object.is_some_and(|object| object.contains_key(ENTITY_ID)) {
        violations.push(violation(ENTITY_ID, "is made by the service: leave it out"));
    }
    finish(object, violations)
}

/// The fields that change in an entity of this kind. `entity_id` is let through.
///
/// # Errors
/// What is wrong with them.
pub fn check_patch(kind: Kind, value: &Value) -> Result<Map<String, Value>, Vec<Violation>> {
    let mut violations = Vec::new();
    let object = check(kind, value, &mut violations);
    finish(object, violations)
}

fn check<'a>(
    kind: Kind,
    value: &'a Value,
    violations: &mut Vec<Violation>,
) -> Option<&'a Map<String, Value>> {
    let Value::Object(object) = value else {
        violations.push(violation(kind.name(), "must be a JSON object"));
        return None;
    };
    for (name, value) in object {
        if name == ENTITY_ID {
            if !value.is_string() {
                violations.push(violation(ENTITY_ID, "must be a string"));
            }
            continue;
        }
        match fields(kind).iter().find(|field| field.name == name) {
            None => violations.push(violation(name, &unknown(kind))),
            Some(field) => {
                if let Err(description) = field.shape.check(value) {
                    violations.push(violation(name, description));
                }
            }
        }
    }
    Some(object)
}

fn finish(
    object: Option<&Map<String, Value>>,
    violations: Vec<Violation>,
) -> Result<Map<String, Value>, Vec<Violation>> {
    match object {
        Some(object) if violations.is_empty() => Ok(object.clone()),
        _ => Err(violations),
    }
}

fn violation(field: &str, description: &str) -> Violation {
    Violation { field: field.to_owned(), description: description.to_owned() }
}

fn unknown(kind: Kind) -> String {
    let names: Vec<_> = fields(kind).iter().map(|field| field.name).collect();
    format!("is no field of {}: it has {}", kind.plural(), names.join(", "))
}

impl Shape {
    fn check(self, value: &Value) -> Result<(), &'static str> {
        let right = match (self, value) {
            (Self::Text | Self::Id, Value::String(text)) => is_text(text),
            (Self::Email, Value::String(text)) => is_text(text) && is_address(text),
            (Self::Whole, Value::Number(number)) => {
                number.as_u64().is_some_and(|whole| whole <= MAX_WHOLE)
            }
            (Self::Ids, Value::Array(ids)) => {
                (1..=MAX_PRODUCTS).contains(&ids.len())
                    && ids.iter().all(|id| id.as_str().is_some_and(is_text))
            }
            (Self::Status, Value::String(name)) => OrderStatus::named(name).is_some(),
            (Self::Delivered, Value::String(text)) => is_text(text),
            (Self::Delivered, Value::Number(_) | Value::Bool(_) | Value::Null) => true,
            _ => false,
        };
        if right { Ok(()) } else { Err(self.expected()) }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Text => "must be text of 1 to 256 bytes",
            Self::Email => "must be a mail address, as in ann@example.com",
            Self::Whole => "must be a whole number from 0 to 1,000,000,000,000",
            Self::Id => "must be the id of an entity",
            Self::Ids => "must be a list of 1 to 500 ids of products",
            Self::Status => {
                "must be CREATED, IN_STOCK, OUT_OF_STOCK, CLEARED, UNCLEARED, SHIPPED or DELIVERED"
            }
            Self::Delivered => {
                "must be a time (seconds since 1970, or text), true for now, or null"
            }
        }
    }
}

fn is_text(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= MAX_TEXT && !text.chars().any(char::is_control)
}

/// No more than what keeps a mail from going nowhere or to someone else.
fn is_address(text: &str) -> bool {
    text.split_once('@').is_some_and(|(name, host)| {
        !name.is_empty()
            && !host.is_empty()
            && !host.contains('@')
            && !text.contains(|c: char| c.is_whitespace() || ",;<>".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(kind: Kind, value: &Value) -> Vec<String> {
        check_new(kind, value)
            .map_or_else(|faults| faults.into_iter().map(|fault| fault.field).collect(), |_| vec![])
    }

    #[test]
    fn what_is_right_passes() {
        let right = [
            (Kind::Customer, json!({"name": "Ann", "email": "ann@example.com"})),
            (Kind::Product, json!({"name": "Pen", "price": 0})),
            (Kind::Inventory, json!({"product_id": "p", "amount": 100})),
            (Kind::Cart, json!({"customer_id": "c", "product_ids": ["p", "p"]})),
            (Kind::Order, json!({"cart_id": "c"})),
            (Kind::Order, json!({"cart_id": "c", "status": "CREATED"})),
            (Kind::Billing, json!({"order_id": "o", "amount": 12})),
            (Kind::Shipping, json!({"order_id": "o", "delivered": null})),
            (Kind::Shipping, json!({"order_id": "o", "delivered": 1_700_000_000.5})),
        ];
        for (kind, value) in right {
            assert_eq!(check_new(kind, &value).map(Value::Object), Ok(value));
        }
    }

    #[test]
    fn every_fault_is_named_with_its_field() {
        let wrong = [
            (Kind::Customer, json!({"name": ""}), vec!["name", "email"]),
            (Kind::Customer, json!({"name": "A", "email": "nowhere"}), vec!["email"]),
            (Kind::Product, json!({"name": "A", "price": 1.5}), vec!["price"]),
            (
                Kind::Product,
                json!({"name": "A", "price": -1, "colour": 1}),
                vec!["colour", "price"],
            ),
            (
                Kind::Inventory,
                json!({"product_id": 3, "amount": "3"}),
                vec!["amount", "product_id"],
            ),
            (Kind::Cart, json!({"customer_id": "c", "product_ids": []}), vec!["product_ids"]),
            (Kind::Order, json!({"cart_id": "c", "status": "LOST"}), vec!["status"]),
            (
                Kind::Billing,
                json!({"entity_id": "x", "order_id": "o", "amount": 1}),
                vec!["entity_id"],
            ),
            (Kind::Shipping, json!("no object"), vec!["shipping"]),
        ];
        for (kind, value, fields) in wrong {
            assert_eq!(faults(kind, &value), fields, "{value}");
        }
    }

    #[test]
    fn a_patch_needs_no_field_but_takes_no_wrong_one() {
        assert!(check_patch(Kind::Product, &json!({"entity_id": "p"})).is_ok());
        assert!(check_patch(Kind::Product, &json!({"price": "dear"})).is_err());
    }
}
