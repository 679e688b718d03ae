//! crm-service: writes to customers when something happens to them. Takes part
//! in consumer groups, so it misses nothing while it is away.
//!
//! A customer's mails come in the order of their story, although the events come
//! from four topics: each mail takes along those that come before it, under ids
//! of their own, and those that went out already are recognised by that.

use std::collections::BTreeMap;

use proto::messagequeue::v1 as mq;
use serde_json::json;
use svc_runtime::rpc_error::ErrorFacts;
use tonic::Status;

use super::{billing, parse, shipping};
use crate::model::{Cart, Customer, EventType, Kind, Order, OrderStatus};
use crate::service::{
    COMMAND_ID, Channel, Clients, EventLog, Events, Failure, Head, Service, Through, derive_id,
    message, sending,
};

const MAIL_SERVICE: &str = "mail-service";
/// Its command.
const SEND: &str = "send";
/// Events at the beginning of an order in which it becomes IN_STOCK, if ever.
const ORDER_EVENTS: u64 = 20;

/// One mail to one customer.
struct Mail {
    /// Derived from what it is about: the same mail has the same id for ever.
    id: String,
    to: String,
    msg: String,
}

#[derive(Clone)]
struct Crm {
    log: EventLog,
    queue: mq::message_queue_client::MessageQueueClient<Channel>,
}

/// How far an order's story goes.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Chapter {
    Payable,
    Paid,
    Sent,
}

impl Events for Crm {
    async fn handle(&self, event: &Head) -> Result<(), Failure> {
        let Some(kind) = Kind::named(&event.recorded.topic) else {
            return Ok(());
        };
        let Some(subject) = event.recorded.event.as_ref().and_then(|e| e.subject.clone()) else {
            return Ok(());
        };
        let order_id = || event.data["order_id"].as_str().unwrap_or_default().to_owned();
        let (customer_id, mails) = match (kind, event.kind) {
            (Kind::Customer, Some(EventType::Created)) => {
                let mails = self.customer_mails(&subject).await?;
                (subject, mails)
            }
            (Kind::Customer, Some(EventType::Deleted)) => {
                let mut mails = self.customer_mails(&subject).await?;
                mails.push(goodbye(event)?);
                (subject, mails)
            }
            (Kind::Order, Some(EventType::Updated))
                if event.data["status"] == OrderStatus::InStock.name() =>
            {
                self.order_mails(&subject, Chapter::Payable).await?
            }
            (Kind::Billing, Some(EventType::Created)) => {
                self.order_mails(&order_id(), Chapter::Paid).await?
            }
            (Kind::Shipping, Some(EventType::Created)) => {
                self.order_mails(&order_id(), Chapter::Sent).await?
            }
            _ => return Ok(()),
        };
        self.send(event, &customer_id, mails).await
    }
}

impl Crm {
    /// The customer as they came; their first mail.
    async fn customer_mails(&self, customer_id: &str) -> Result<Vec<Mail>, Failure> {
        let first = self.log.first(Kind::Customer.name(), customer_id, 1).await?;
        first.iter().map(|created| welcome(customer_id, created)).collect()
    }

    /// The mails of an order up to a chapter of its story, and whose they are.
    async fn order_mails(
        &self,
        order_id: &str,
        chapter: Chapter,
    ) -> Result<(String, Vec<Mail>), Failure> {
        let events = self.log.first(Kind::Order.name(), order_id, ORDER_EVENTS).await?;
        let Some(first) = events.first() else {
            return Ok((String::new(), Vec::new()));
        };
        let order: Order = parse(Kind::Order, first.data.clone())?;
        let cart = self.log.head(Kind::Cart.name(), &order.cart_id).await?;
        let Some(cart) = cart else {
            return Ok((String::new(), Vec::new()));
        };
        let cart: Cart = parse(Kind::Cart, cart.data)?;
        let customer = self.log.head(Kind::Customer.name(), &cart.customer_id).await?;
        let Some(customer) = customer else {
            return Ok((String::new(), Vec::new()));
        };
        let customer: Customer = parse(Kind::Customer, customer.data)?;

        let mut mails = self.customer_mails(&cart.customer_id).await?;
        let in_stock = OrderStatus::InStock.name();
        if events.iter().any(|event| event.data["status"] == in_stock) {
            mails.push(about_order(order_id, &customer, Chapter::Payable));
        }
        for (part, topic, subject) in [
            (Chapter::Paid, Kind::Billing.name(), billing::id(order_id)),
            (Chapter::Sent, Kind::Shipping.name(), shipping::id(order_id)),
        ] {
            if part <= chapter {
                let first = self.log.first(topic, &subject, 1).await?;
                mails.extend(first.iter().map(|_| about_order(order_id, &customer, part)));
            }
        }
        Ok((cart.customer_id, mails))
    }

    async fn send(&self, about: &Head, customer_id: &str, mails: Vec<Mail>) -> Result<(), Failure> {
        if mails.is_empty() {
            tracing::warn!(event = about.id, "nobody to write to");
            return Ok(());
        }
        let sent = sending(Through::Queue, MAIL_SERVICE, SEND, async {
            let messages: Vec<_> =
                mails.into_iter().map(|mail| outgoing(customer_id, mail)).collect();
            match self.send_all(messages.clone()).await {
                Err(status) if is_known(&status) => {
                    // One of them was worded otherwise when it went out, because the
                    // customer was called otherwise: so it did go out.
                    for message in messages {
                        match self.send_all(vec![message]).await {
                            Err(status) if !is_known(&status) => return Err(status),
                            _ => {}
                        }
                    }
                    Ok(())
                }
                sent => sent,
            }
        });
        sent.await.map_err(Failure::from)
    }

    async fn send_all(&self, messages: Vec<mq::OutgoingMessage>) -> Result<(), Status> {
        let queue = MAIL_SERVICE.to_owned();
        let request = mq::SendRequest { queue, messages, ..mq::SendRequest::default() };
        self.queue.clone().send(request).await.map(|_| ())
    }
}

fn is_known(status: &Status) -> bool {
    ErrorFacts::of(status).is_some_and(|facts| facts.reason == "ID_REUSED")
}

fn outgoing(customer_id: &str, mail: Mail) -> mq::OutgoingMessage {
    // Only what belongs to the mail itself, and the trace, which does not count: it has to
    // look the same each time.
    let headers = BTreeMap::from([(COMMAND_ID.to_owned(), mail.id.clone())]);
    let body = json!({ "to": mail.to, "msg": mail.msg });
    mq::OutgoingMessage {
        message: Some(message(SEND, &body, headers)),
        ordering_key: Some(customer_id.to_owned()),
        dedup_key: Some(mail.id),
        ..mq::OutgoingMessage::default()
    }
}

fn welcome(customer_id: &str, created: &Head) -> Result<Mail, Failure> {
    let customer: Customer = parse(Kind::Customer, created.data.clone())?;
    let id = derive_id(&["mail", "welcome", customer_id]);
    Ok(mail(id, &customer, "Welcome. Your account was created."))
}

fn goodbye(deleted: &Head) -> Result<Mail, Failure> {
    let customer: Customer = parse(Kind::Customer, deleted.data.clone())?;
    let id = derive_id(&["mail", "goodbye", &deleted.id]);
    Ok(mail(id, &customer, "Your account was deleted. Goodbye."))
}

fn about_order(order_id: &str, customer: &Customer, chapter: Chapter) -> Mail {
    let (name, text) = match chapter {
        Chapter::Payable => {
            ("payable", format!("Your order {order_id} is in stock. Please transfer its price."))
        }
        Chapter::Paid => ("paid", format!("Thank you for paying your order {order_id}.")),
        Chapter::Sent => ("sent", format!("Your order {order_id} is on its way.")),
    };
    mail(derive_id(&["mail", name, order_id]), customer, &text)
}

fn mail(id: String, customer: &Customer, text: &str) -> Mail {
    Mail {
        id,
        to: customer.email.clone(),
        msg: format!("Dear {}!\n\n{text}\n\nOrderShop", customer.name),
    }
}

/// Runs the service.
///
/// # Errors
/// When it cannot go on.
pub async fn run(mut service: Service) -> anyhow::Result<()> {
    let clients: &Clients = service.clients();
    let crm = Crm {
        log: clients.log(),
        queue: mq::message_queue_client::MessageQueueClient::new(clients.message_queue.clone()),
    };
    for kind in [Kind::Customer, Kind::Order, Kind::Billing, Kind::Shipping] {
        service.events(kind.name(), crm.clone());
    }
    service.run().await
}
