//! event-store-svc: the program; what it does is in svc-front, what it serves in the library beside this.

use std::process::ExitCode;

use event_store_svc::config::Config;

/// Small pieces come and go with every call: this allocator is quicker at it than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<ExitCode> {
    svc_front::main::<Config>()
}
