//! Which server a private Redis runs.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The Valkey server that `make tools` fetches, or the one in `VALKEY_SERVER_BIN`.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn valkey_server() -> PathBuf {
    let fetched = || {
        let root =
            Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."));
        root.join("target/tools/bin/valkey-server")
    };
    let server = std::env::var_os("VALKEY_SERVER_BIN").map_or_else(fetched, PathBuf::from);
    if !server.is_file() {
        panic!("{} is not there: fetch it with `make tools`", server.display());
    }
    server
}

pub(super) const INSTALL: &str =
    "Tests need redis-server or valkey-server on PATH, or REDIS_SERVER_BIN naming one";

pub(super) fn server_command() -> Command {
    if let Some(named) = std::env::var_os("REDIS_SERVER_BIN") {
        return Command::new(named);
    }
    let found = ["redis-server", "valkey-server"].into_iter().find(|name| on_path(name));
    Command::new(found.unwrap_or_else(|| panic!("no redis-server was found. {INSTALL}")))
}

fn on_path(name: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}
