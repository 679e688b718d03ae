//! Gauges of the server itself: connections, and what was refused.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use svc_observe::metrics::catalog::collected::{AUTH_DENIED, SERVER_CONNECTIONS};
use svc_observe::metrics::collect::{Collect, CollectError, Samples};
use svc_security::Security;

/// Asks what guards the server.
#[derive(Debug)]
pub(crate) struct Guarded(pub(crate) Security);

impl Collect for Guarded {
    fn name(&self) -> &'static str {
        "server"
    }

    #[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    fn collect<'a>(&'a self, samples: &'a mut Samples) -> BoxFuture<'a, Result<(), CollectError>> {
        async {
            samples.set(&SERVER_CONNECTIONS, [], self.0.open_connections() as f64);
            for (reason, count) in self.0.refused().iter() {
                samples.set(&AUTH_DENIED, [reason.name()], count as f64);
            }
            Ok(())
        }
        .boxed()
    }
}
