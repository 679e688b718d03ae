//! How many threads a service works with.

use std::io;
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Runtime};

/// Sets the number: the variable is Tokio's own.
pub const WORKER_THREADS: &str = "TOKIO_WORKER_THREADS";

/// A runtime with a thread for every two cores, unless [`WORKER_THREADS`] says otherwise.
///
/// Work that one thread can do is done with less of the processor by one: with two a fifth to a
/// quarter goes into waking each other, taking each other's tasks and waiting for a connection that
/// the other one has (see docs/benchmarks.md). The other cores have Redis and the clients to run.
///
/// One thread takes tasks in turn, where several let the task that was woken last go first: then the
/// connection writes each answer of a batch by itself, as soon as it is made. In turn it comes after
/// them and writes them together, which takes the service an eighth less of the processor.
///
/// # Errors
/// When the system gives no threads.
pub fn runtime() -> io::Result<Runtime> {
    let said = std::env::var(WORKER_THREADS).ok().and_then(|said| said.parse().ok());
    let threads = said.unwrap_or_else(|| available_parallelism().map_or(1, usize::from) / 2);
    if threads <= 1 {
        return Builder::new_current_thread().enable_all().build();
    }
    Builder::new_multi_thread().enable_all().worker_threads(threads).build()
}
