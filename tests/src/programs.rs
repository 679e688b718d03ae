//! Where the built programs and the fetched tools are.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// The folder of the programs that were built together with this one: beside it for a program,
/// one up for a test. `BIN_DIR` names another.
///
/// # Errors
/// When the own path can't be told.
pub fn folder() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os("BIN_DIR") {
        return Ok(named.into());
    }
    let own = std::env::current_exe().context("where this program is")?;
    let folder = own.parent().context("this program has no folder")?;
    if folder.ends_with("deps") {
        return Ok(folder.parent().unwrap_or(folder).to_owned());
    }
    Ok(folder.to_owned())
}

/// The path of a built program.
///
/// # Errors
/// When it is not there, with what would build it.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let path = folder()?.join(name);
    if !path.is_file() {
        bail!(
            "{} is not there: build it with `cargo build --workspace --all-targets`",
            path.display()
        );
    }
    Ok(path)
}

/// The root of the repository.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The path of a tool that `make tools` fetches.
///
/// # Errors
/// When it is not there, with what would fetch it.
pub fn tool(name: &str) -> anyhow::Result<PathBuf> {
    let path = repository().join("target/tools/bin").join(name);
    if !path.exists() {
        bail!("{} is not there: fetch it with `make tools`", path.display());
    }
    Ok(path)
}
