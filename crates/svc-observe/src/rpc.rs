//! What happens around every RPC: one tower layer that watches a call from its request to its
//! last trailer, and what it watches for: [`Measure`] (metrics), [`ServerTrace`], [`ClientTrace`].

mod client;
mod ending;
mod measure;
mod methods;
mod observed;
mod server_trace;

use tonic::service::Routes;

pub use client::ClientTrace;
pub use ending::ObservedBody;
pub use measure::Measure;
pub use methods::{ByMethod, Method, UNKNOWN};
pub use observed::{Observe, ObserveLayer, Observed, ObservedFuture, Watch};
pub use server_trace::ServerTrace;

/// Puts an observer around all services of a server, and around calls of services that it does not
/// have.
#[must_use]
pub fn around<O: Observe + Sync>(routes: Routes, observe: O) -> Routes {
    Routes::from(routes.into_axum_router().layer(ObserveLayer(observe)))
}
