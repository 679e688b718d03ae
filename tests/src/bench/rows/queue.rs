//! The rows of the message queue, besides unary sends.

use super::{ECHO, Spec, bare, call, latency, queue_limit, queue_stream};

/// Name of the row that is the limit of full cycles.
const RAW_CYCLES: &str = "limit: raw loop of send, take, ack by 100";
/// Name of the row of full cycles through one queue.
const CYCLES: &str = "SendStream, Consume, ack: full cycles";

pub fn rows() -> Vec<Spec> {
    vec![
        Spec::new(RAW_CYCLES, 1, |world, effort| queue_limit::cycles(world, 100, 1, effort)),
        Spec::new(RAW_CYCLES, 4, |world, effort| queue_limit::cycles(world, 100, 4, effort)),
        Spec::new("limit: raw loop of send, take, ack by 25", 4, |world, effort| {
            queue_limit::cycles(world, 25, 4, effort)
        }),
        Spec::new(CYCLES, 4, |world, effort| queue_stream::cycles(world, 1, effort))
            .rate(0.75, RAW_CYCLES, 1)
            .with_processor(),
        Spec::new("full cycles through 16 queues", 4, |world, effort| {
            queue_stream::cycles(world, 16, effort)
        })
        .rate(0.95, CYCLES, 4)
        .with_processor(),
    ]
}

/// From a send until a consumer that waits has the message.
pub fn delivery() -> Spec {
    Spec::new("send to delivery, queue empty", 1, latency::send_to_delivery)
        .median(3.0, ECHO, 1)
        .beside(bare::DELIVERY)
}

/// What Redis takes for a Call.
pub fn call_scripts() -> Spec {
    Spec::new("limit: raw scripts of a Call, both", 1, queue_limit::call_and_reply).with_processor()
}

/// So many at once.
pub fn calls(in_flight: usize) -> Spec {
    let row = Spec::new("Call, a streaming worker", in_flight, move |world, effort| {
        call::calls(world, in_flight, effort)
    });
    let held =
        if in_flight == 1 { row.median(4.0, ECHO, 1) } else { row.rate(0.3, ECHO, in_flight) };
    held.beside(if in_flight == 1 { bare::ASK_KEPT } else { bare::ASK }).with_processor()
}
