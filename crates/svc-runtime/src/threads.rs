//! How many threads a service works with.

use std::ffi::OsStr;
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
/// When [`WORKER_THREADS`] says something else than a number from 1 on, or the system gives no threads.
pub fn runtime() -> io::Result<Runtime> {
    let cores = available_parallelism().map_or(1, usize::from);
    match threads(std::env::var_os(WORKER_THREADS).as_deref(), cores)? {
        1 => Builder::new_current_thread().enable_all().build(),
        threads => Builder::new_multi_thread().enable_all().worker_threads(threads).build(),
    }
}

fn threads(said: Option<&OsStr>, cores: usize) -> io::Result<usize> {
    let Some(said) = said else { return Ok((cores / 2).max(1)) };
    said.to_str().and_then(|said| said.parse().ok()).filter(|threads| *threads > 0).ok_or_else(
        || {
            let said = said.display();
            io::Error::other(format!(
                "{WORKER_THREADS} is \"{said}\"; set a number of threads from 1 on"
            ))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(said: &str) -> Result<usize, String> {
        threads(Some(said.as_ref()), 8).map_err(|error| error.to_string())
    }

    #[test]
    fn a_thread_for_every_two_cores_unless_told_otherwise() {
        assert_eq!([1, 2, 3, 4, 64].map(|cores| threads(None, cores).unwrap()), [1, 1, 1, 2, 32]);
        assert_eq!(of("3"), Ok(3));
        for wrong in ["0", "-1", "many", ""] {
            let told = of(wrong).unwrap_err();
            assert!(told.contains(WORKER_THREADS) && told.contains(wrong), "{told}");
        }
    }
}
