//! Generates the stubs of the echo service that the benchmarks measure against.

use std::path::Path;

fn main() -> anyhow::Result<()> {
    let root = Path::new("proto");
    let file = root.join("echo/v1/echo.proto");
    println!("cargo:rerun-if-changed={}", file.display());
    let files = protox::compile([&file], [root])?;
    tonic_prost_build::configure().bytes(".").compile_fds(files)?;
    Ok(())
}
