//! The state machine of an order:
//!
//! ```text
//! CREATED ─┬─> IN_STOCK ──> CLEARED ─┬─> SHIPPED ──> DELIVERED
//!          └─> OUT_OF_STOCK          └─> UNCLEARED
//! ```

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How far an order got.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OrderStatus {
    /// Ordered; the stock was not looked at yet.
    #[default]
    Created,
    /// The products were taken out of stock; it waits for the payment.
    InStock,
    /// Some product was not there; it goes no further.
    OutOfStock,
    /// Paid.
    Cleared,
    /// The payment was taken back.
    Uncleared,
    /// On its way.
    Shipped,
    /// Arrived.
    Delivered,
}

impl OrderStatus {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Created,
        Self::InStock,
        Self::OutOfStock,
        Self::Cleared,
        Self::Uncleared,
        Self::Shipped,
        Self::Delivered,
    ];

    /// Where an order of this status may go.
    #[must_use]
    pub fn next(self) -> &'static [Self] {
        match self {
            Self::Created => &[Self::InStock, Self::OutOfStock],
            Self::InStock => &[Self::Cleared],
            Self::Cleared => &[Self::Uncleared, Self::Shipped],
            Self::Shipped => &[Self::Delivered],
            Self::OutOfStock | Self::Uncleared | Self::Delivered => &[],
        }
    }

    /// Whether an order of this status may go to `next`.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        self.next().contains(&next)
    }

    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::InStock => "IN_STOCK",
            Self::OutOfStock => "OUT_OF_STOCK",
            Self::Cleared => "CLEARED",
            Self::Uncleared => "UNCLEARED",
            Self::Shipped => "SHIPPED",
            Self::Delivered => "DELIVERED",
        }
    }

    /// The status of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

impl std::fmt::Display for OrderStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The diagram, written down a second time.
    const DIAGRAM: [(OrderStatus, OrderStatus); 6] = [
        (OrderStatus::Created, OrderStatus::InStock),
        (OrderStatus::Created, OrderStatus::OutOfStock),
        (OrderStatus::InStock, OrderStatus::Cleared),
        (OrderStatus::Cleared, OrderStatus::Uncleared),
        (OrderStatus::Cleared, OrderStatus::Shipped),
        (OrderStatus::Shipped, OrderStatus::Delivered),
    ];

    #[test]
    fn exactly_the_transitions_of_the_diagram_are_allowed() {
        for from in OrderStatus::ALL {
            for to in OrderStatus::ALL {
                assert_eq!(from.may_become(to), DIAGRAM.contains(&(from, to)), "{from} to {to}");
            }
        }
    }

    #[test]
    fn names_are_those_on_the_wire() {
        for status in OrderStatus::ALL {
            assert_eq!(serde_json::to_value(status).unwrap(), status.name());
            assert_eq!(OrderStatus::named(status.name()), Some(status));
        }
    }

    proptest! {
        /// Whatever is asked for, in whatever order: an order is decided once,
        /// is never paid before it was in stock, never shipped before it was paid.
        #[test]
        fn every_walk_visits_a_status_at_most_once(wishes in prop::collection::vec(0..7_usize, 0..60)) {
            let mut path = vec![OrderStatus::Created];
            for wish in wishes {
                let (now, wish) = (path[path.len() - 1], OrderStatus::ALL[wish]);
                if now.may_become(wish) {
                    path.push(wish);
                }
            }
            for (i, status) in path.iter().enumerate() {
                prop_assert!(!path[..i].contains(status), "{path:?}");
            }
            let at = |status| path.iter().position(|s| *s == status);
            prop_assert!(at(OrderStatus::InStock).is_none() || at(OrderStatus::OutOfStock).is_none());
            prop_assert!(at(OrderStatus::Cleared) <= at(OrderStatus::Shipped) || at(OrderStatus::Shipped).is_none());
            prop_assert!(path.len() <= 5);
        }
    }
}
