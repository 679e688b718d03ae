//! Metrics of RPCs: how many ended with what code, how long they took, how many are open.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use http::Request;
use metrics::{Counter, Gauge, Histogram};
use prost::DecodeError;
use tonic::Code;

use super::methods::{ByMethod, Method};
use super::observed::{Observe, Watch};

/// As many codes as gRPC has.
const CODES: usize = 17;

/// Measures the calls of a server.
#[derive(Clone, Debug)]
pub struct Measure {
    methods: ByMethod<Arc<Handles>>,
}

impl Measure {
    /// Of the methods in these encoded `FileDescriptorSet`s; calls of others are counted as
    /// `unknown`. Made after [`crate::metrics::Metrics::install`].
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn new(descriptors: &[&[u8]]) -> Result<Self, DecodeError> {
        let methods = ByMethod::new(descriptors, |method| {
            Arc::new(Handles {
                method: method.clone(),
                open: OnceLock::new(),
                codes: Default::default(),
            })
        })?;
        Ok(Self { methods })
    }
}

/// Handles of a method's metrics, each resolved when it is first needed: a method that nobody
/// calls has no series.
struct Handles {
    method: Method,
    open: OnceLock<(Gauge, Histogram)>,
    codes: [OnceLock<Counter>; CODES],
}

impl Handles {
    fn open(&self) -> &(Gauge, Histogram) {
        self.open.get_or_init(|| {
            let Method { service, method } = self.method.clone();
            let labels = [("service", service), ("method", method)];
            (
                metrics::gauge!("grpc_server_streams", &labels),
                metrics::histogram!("grpc_server_handling_seconds", &labels),
            )
        })
    }

    fn count(&self, code: Code) {
        let Some(counter) = self.codes.get(code as usize) else { return };
        let counter = counter.get_or_init(|| {
            let Method { service, method } = self.method.clone();
            let labels = [("service", service), ("method", method), ("code", name(code).into())];
            metrics::counter!("grpc_server_handled_total", &labels)
        });
        counter.increment(1);
    }
}

impl std::fmt::Debug for Handles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Handles").field(&self.method).finish()
    }
}

impl Observe for Measure {
    type Watch = Measured;

    fn begin<B>(&self, request: &mut Request<B>) -> Measured {
        let handles = self.methods.of(request.uri().path()).clone();
        handles.open().0.increment(1);
        Measured { handles, begun: Instant::now() }
    }
}

/// A call that is measured.
#[derive(Debug)]
pub struct Measured {
    handles: Arc<Handles>,
    begun: Instant,
}

impl Watch for Measured {
    type Entered = ();

    fn enter(&self) {}

    fn end(self, code: Code) {
        let (streams, seconds) = self.handles.open();
        streams.decrement(1);
        seconds.record(self.begun.elapsed());
        self.handles.count(code);
    }
}

/// The code's name in the gRPC specification.
pub(super) fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
