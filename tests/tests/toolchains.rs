//! `scripts/toolchains.sh`: on a machine that has next to nothing it names everything that is
//! missing, and the commands that install it.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::{Command, Output};

use system_tests::programs;

/// What any machine has, and what the script itself needs.
const BARE: [&str; 6] = ["bash", "dirname", "env", "id", "printf", "sort"];

fn script() -> Command {
    let mut script = Command::new(programs::repository().join("scripts/toolchains.sh"));
    script.arg("--check");
    script
}

fn check_in(path: &Path) -> Output {
    let mut script = script();
    for variable in ["REDIS_SERVER_BIN", "CHROMIUM_BIN"] {
        script.env_remove(variable);
    }
    script.env("PATH", path).env("HOME", "/nonexistent").output().unwrap()
}

#[test]
fn everything_that_is_missing_is_named_at_once_with_what_installs_it() {
    let bare = tempfile::tempdir().unwrap();
    let path = std::env::var("PATH").unwrap();
    for name in BARE {
        let found = path.split(':').map(|folder| Path::new(folder).join(name));
        let found = found.into_iter().find(|program| program.is_file()).unwrap();
        std::os::unix::fs::symlink(found, bare.path().join(name)).unwrap();
    }
    let output = check_in(bare.path());
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(!output.status.success(), "{said}");
    let missing = ["cargo", "cc", "curl", "openssl", "Redis", "go", "pip", "venv", "node and npm"];
    for what in missing.into_iter().chain(["javac and mvn", "Chromium"]) {
        let named = said.lines().any(|line| line.starts_with("missing: ") && line.contains(what));
        assert!(named, "{what} in {said}");
    }
    let install = said.lines().find(|line| line.contains("apt-get install")).unwrap();
    for package in ["golang-go", "default-jdk-headless", "maven", "nodejs", "python3-venv"] {
        assert!(install.contains(package), "{package} in {install}");
    }
    assert!(said.contains("https://sh.rustup.rs"), "{said}");
}

#[test]
fn nothing_is_said_where_nothing_is_missing() {
    let output = script().output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.is_empty(), "{said}");
}
