//! `/report` and `/report/orders`: much of the shop at once.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use futures::future::try_join_all;
use serde_json::{Map, Value, json};

use super::backend::CommandId;
use super::error::ApiError;
use super::routes::App;
use crate::model::{ENTITY_ID, Kind};
use crate::service::RemoteError;

type Lists = HashMap<Kind, Vec<Value>>;

async fn lists(app: &App, kinds: &[Kind], command_id: &CommandId) -> Result<Lists, RemoteError> {
    let lists = kinds.iter().map(|kind| async {
        let list =
            app.backend.list("get_entities", json!({ "name": kind.name() }), command_id).await?;
        Ok((*kind, list))
    });
    Ok(try_join_all(lists).await?.into_iter().collect())
}

/// All entities by the plural of their kind, and the mails.
pub(super) async fn report(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let command_id = CommandId::of(&headers);
    let (lists, mails) = futures::try_join!(
        lists(&app, &Kind::ALL, &command_id),
        app.backend.list("get_mails", json!({}), &command_id),
    )?;
    let mut result: Map<_, _> =
        lists.into_iter().map(|(kind, list)| (kind.plural().to_owned(), list.into())).collect();
    result.insert("mails".to_owned(), mails.into());
    Ok(Json(json!({ "result": result })))
}

/// All orders, each with all that belongs to it.
pub(super) async fn orders(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let kinds =
        [Kind::Order, Kind::Cart, Kind::Customer, Kind::Product, Kind::Billing, Kind::Shipping];
    let lists = lists(&app, &kinds, &CommandId::of(&headers)).await?;
    Ok(Json(json!({ "result": joined(&lists) })))
}

fn joined(lists: &Lists) -> Vec<Value> {
    let of = |kind: Kind| lists.get(&kind).map_or(&[][..], Vec::as_slice);
    let by_id = |kind| -> HashMap<&str, &Value> {
        of(kind).iter().filter_map(|entity| Some((entity[ENTITY_ID].as_str()?, entity))).collect()
    };
    let by_order = |kind| {
        let mut found: HashMap<&str, Vec<&Value>> = HashMap::new();
        for entity in of(kind) {
            found.entry(entity["order_id"].as_str().unwrap_or_default()).or_default().push(entity);
        }
        found
    };
    let (carts, customers, products) =
        (by_id(Kind::Cart), by_id(Kind::Customer), by_id(Kind::Product));
    let (billings, shippings) = (by_order(Kind::Billing), by_order(Kind::Shipping));
    let find = |entities: &HashMap<&str, &Value>, id: &Value| {
        id.as_str().and_then(|id| entities.get(id)).map_or(Value::Null, |entity| (*entity).clone())
    };
    let orders = of(Kind::Order).iter().map(|order| {
        let id = order[ENTITY_ID].as_str().unwrap_or_default();
        let cart = find(&carts, &order["cart_id"]);
        let product_ids = cart["product_ids"].as_array().cloned().unwrap_or_default();
        let mut order = order.clone();
        order["customer"] = find(&customers, &cart["customer_id"]);
        order["products"] = product_ids.iter().map(|id| find(&products, id)).collect();
        order["billings"] = json!(billings.get(id).map_or(&[][..], Vec::as_slice));
        order["shippings"] = json!(shippings.get(id).map_or(&[][..], Vec::as_slice));
        order["cart"] = cart;
        order
    });
    orders.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_comes_with_all_that_belongs_to_it() {
        let customer = json!({ "entity_id": "u", "name": "Ann" });
        let (pen, ink) = (json!({ "entity_id": "pen" }), json!({ "entity_id": "ink" }));
        let cart =
            json!({ "entity_id": "c", "customer_id": "u", "product_ids": ["ink", "pen", "ink"] });
        let order = json!({ "entity_id": "o", "cart_id": "c", "status": "CLEARED" });
        let billing = json!({ "entity_id": "b", "order_id": "o", "amount": 3 });
        let lists = Lists::from([
            (Kind::Customer, vec![customer.clone()]),
            (Kind::Product, vec![pen.clone(), ink.clone()]),
            (Kind::Cart, vec![cart.clone()]),
            (Kind::Order, vec![order]),
            (
                Kind::Billing,
                vec![billing.clone(), json!({ "entity_id": "x", "order_id": "other" })],
            ),
        ]);
        let expected = json!([{
            "entity_id": "o", "cart_id": "c", "status": "CLEARED",
            "cart": cart, "customer": customer, "products": [ink, pen, ink],
            "billings": [billing], "shippings": [],
        }]);
        assert_eq!(Value::from(joined(&lists)), expected);
    }
}
