//! The entities of the shop as they are stored and as they are on the wire:
//! JSON objects with an `entity_id`. Money is whole euros.

mod delivered;
mod fields;
mod order_status;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

pub use delivered::Delivered;
pub use fields::{Violation, check_new, check_patch};
pub use order_status::OrderStatus;

/// The name of the field that identifies an entity.
pub const ENTITY_ID: &str = "entity_id";

/// The kinds of entities. The name of a kind is its topic.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// Who buys.
    Customer,
    /// What is sold.
    Product,
    /// How much of a product there is.
    Inventory,
    /// What a customer wants to buy.
    Cart,
    /// A cart that was ordered.
    Order,
    /// That an order was paid.
    Billing,
    /// That an order is on its way, or arrived.
    Shipping,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Customer,
        Self::Product,
        Self::Inventory,
        Self::Cart,
        Self::Order,
        Self::Billing,
        Self::Shipping,
    ];

    /// The kind's name, which is its topic too.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Product => "product",
            Self::Inventory => "inventory",
            Self::Cart => "cart",
            Self::Order => "order",
            Self::Billing => "billing",
            Self::Shipping => "shipping",
        }
    }

    /// Several of the kind.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Customer => "customers",
            Self::Product => "products",
            Self::Inventory => "inventories",
            Self::Cart => "carts",
            Self::Order => "orders",
            Self::Billing => "billings",
            Self::Shipping => "shippings",
        }
    }

    /// The service that owns the kind, which is the queue for its commands too.
    #[must_use]
    pub fn service(self) -> &'static str {
        match self {
            Self::Customer => "customer-service",
            Self::Product => "product-service",
            Self::Inventory => "inventory-service",
            Self::Cart => "cart-service",
            Self::Order => "order-service",
            Self::Billing => "billing-service",
            Self::Shipping => "shipping-service",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// The topic of the mails that were sent.
pub const MAIL_TOPIC: &str = "mail";

/// The topics of the shop.
pub fn topics() -> impl Iterator<Item = &'static str> {
    Kind::ALL.into_iter().map(Kind::name).chain([MAIL_TOPIC])
}

/// What happened, as the type of an event says it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EventType {
    /// An entity is there. Data: the entity.
    Created,
    /// An entity changed. Data: the entity, whole.
    Updated,
    /// An entity is gone. Data: the entity as it was.
    Deleted,
    /// A mail was sent.
    MailSent,
    /// Stock was set aside for an order (topic inventory, beside the updates of
    /// the inventories in the same append).
    StockReserved,
    /// There is not enough stock for an order, or it needs none any more.
    StockRefused,
    /// What was set aside for an order went back.
    StockReleased,
}

impl EventType {
    const ALL: [Self; 7] = [
        Self::Created,
        Self::Updated,
        Self::Deleted,
        Self::MailSent,
        Self::StockReserved,
        Self::StockRefused,
        Self::StockReleased,
    ];

    /// The type on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "entity_created",
            Self::Updated => "entity_updated",
            Self::Deleted => "entity_deleted",
            Self::MailSent => "mail_sent",
            Self::StockReserved => "stock_reserved",
            Self::StockRefused => "stock_refused",
            Self::StockReleased => "stock_released",
        }
    }

    /// The type of this name, if the shop knows it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl From<EventType> for std::borrow::Cow<'static, str> {
    fn from(kind: EventType) -> Self {
        Self::Borrowed(kind.name())
    }
}

/// An entity without its id.
pub trait Entity:
    Serialize + DeserializeOwned + Clone + std::fmt::Debug + PartialEq + Send + Sync + 'static
{
    /// What it is.
    const KIND: Kind;
}

macro_rules! entity {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)+ }

        impl Entity for $name {
            const KIND: Kind = Kind::$name;
        }
    };
}

entity!(
    /// Who buys.
    Customer {
        /// What to call them.
        #[schema(min_length = 1, max_length = 256)]
        name: String,
        /// Where to write to.
        #[schema(min_length = 1, max_length = 256)]
        email: String,
    }
);
entity!(
    /// What is sold.
    Product {
        /// What it is called.
        #[schema(min_length = 1, max_length = 256)]
        name: String,
        /// What it costs, in euros.
        #[schema(minimum = 0, maximum = 1_000_000_000_000_i64)]
        price: u64,
    }
);
entity!(
    /// How much of a product there is.
    Inventory {
        /// The product. There is one inventory for each.
        #[schema(min_length = 1, max_length = 256)]
        product_id: String,
        /// Pieces that can still be ordered.
        #[schema(minimum = 0, maximum = 1_000_000_000_000_i64)]
        amount: u64,
    }
);
entity!(
    /// What a customer wants to buy.
    Cart {
        /// The customer.
        #[schema(min_length = 1, max_length = 256)]
        customer_id: String,
        /// The products; one that is wanted twice is here twice.
        #[schema(min_items = 1, max_items = 500)]
        product_ids: Vec<String>,
    }
);
entity!(
    /// A cart that was ordered.
    Order {
        /// The cart.
        #[schema(min_length = 1, max_length = 256)]
        cart_id: String,
        /// How far it got.
        #[serde(default)]
        status: OrderStatus,
    }
);
entity!(
    /// That an order was paid.
    Billing {
        /// The order. There is one billing for each.
        #[schema(min_length = 1, max_length = 256)]
        order_id: String,
        /// What was paid, in euros.
        #[schema(minimum = 0, maximum = 1_000_000_000_000_i64)]
        amount: u64,
    }
);
entity!(
    /// That an order is on its way, or arrived.
    Shipping {
        /// The order. There is one shipping for each.
        #[schema(min_length = 1, max_length = 256)]
        order_id: String,
        /// When it arrived; null while it is on its way.
        #[serde(default)]
        delivered: Option<Delivered>,
    }
);

/// An entity as JSON, with its id.
#[must_use]
pub fn to_json<E: Entity>(id: &str, entity: &E) -> Value {
    // An entity is a struct of plain fields, which always is a JSON object.
    let mut object = match serde_json::to_value(entity) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    };
    object.insert(ENTITY_ID.to_owned(), Value::from(id));
    Value::Object(object)
}

/// The fields of a JSON object; empty for anything else.
#[must_use]
pub fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}
