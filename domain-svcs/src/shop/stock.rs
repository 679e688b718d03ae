//! Taking a cart's products out of stock: all of them or none.

use std::collections::BTreeMap;

use crate::model::{EventType, Inventory, Kind};
use crate::service::{EventLog, Failure, Head, derive_id};

/// The id of the inventory of a product: derived, so that it is found by the
/// product and there is one for each.
pub(super) fn inventory_id(product_id: &str) -> String {
    derive_id(&["inventory", product_id])
}

/// The subject that holds what was decided about an order's stock. Its first
/// event is the decision, and there can be only one.
pub(super) fn reservation_subject(order_id: &str) -> String {
    format!("reservation-{order_id}")
}

/// What was set aside for an order: how many pieces of each product. Nothing if
/// there was not enough, or if that is not decided yet.
pub(super) async fn reserved(
    log: &EventLog,
    order_id: &str,
) -> Result<BTreeMap<String, u64>, Failure> {
    let subject = reservation_subject(order_id);
    let events = log.first(Kind::Inventory.name(), &subject, 1).await?;
    Ok(match events.first() {
        Some(decision) if decision.kind == Some(EventType::StockReserved) => items(decision),
        _ => BTreeMap::new(),
    })
}

/// The pieces of each product that a decision is about.
pub(super) fn items(decision: &Head) -> BTreeMap<String, u64> {
    serde_json::from_value(decision.data["items"].clone()).unwrap_or_default()
}

/// How many pieces of each product.
pub(super) fn counted(product_ids: &[String]) -> BTreeMap<&str, u64> {
    let mut counts = BTreeMap::new();
    for id in product_ids {
        *counts.entry(id.as_str()).or_insert(0) += 1;
    }
    counts
}

/// What is left of each inventory after taking `wanted`; none if any of them
/// has too little. Both are by product.
pub(super) fn take(
    wanted: &BTreeMap<&str, u64>,
    stock: &BTreeMap<&str, Inventory>,
) -> Option<Vec<Inventory>> {
    wanted
        .iter()
        .map(|(product_id, wanted)| {
            let inventory = stock.get(product_id)?;
            let amount = inventory.amount.checked_sub(*wanted)?;
            Some(Inventory { amount, ..inventory.clone() })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PRODUCTS: [&str; 4] = ["a", "b", "c", "d"];

    fn stock(amounts: &[u64]) -> BTreeMap<&'static str, Inventory> {
        std::iter::zip(PRODUCTS, amounts)
            .map(|(id, amount)| (id, Inventory { product_id: id.into(), amount: *amount }))
            .collect()
    }

    proptest! {
        /// However carts follow each other, every piece is either in stock or
        /// taken, and a cart that does not fit changes nothing.
        #[test]
        fn pieces_are_neither_lost_nor_sold_twice(
            amounts in prop::collection::vec(0..20_u64, 1..=4),
            carts in prop::collection::vec(prop::collection::vec(0..4_usize, 1..8), 0..40),
        ) {
            let mut stock = stock(&amounts);
            let mut taken: BTreeMap<&str, u64> = BTreeMap::new();
            for cart in carts {
                let ids: Vec<String> = cart.iter().map(|i| PRODUCTS[*i].to_owned()).collect();
                let wanted = counted(&ids);
                let fits = wanted.iter().all(|(id, n)| stock.get(id).is_some_and(|i| i.amount >= *n));
                let left = take(&wanted, &stock);
                prop_assert_eq!(left.is_some(), fits);
                for inventory in left.unwrap_or_default() {
                    let id = PRODUCTS.into_iter().find(|id| *id == inventory.product_id).unwrap();
                    *taken.entry(id).or_default() += wanted[id];
                    stock.insert(id, inventory);
                }
            }
            for (id, amount) in std::iter::zip(PRODUCTS, amounts) {
                prop_assert_eq!(stock[id].amount + taken.get(id).copied().unwrap_or(0), amount);
            }
        }
    }
}
