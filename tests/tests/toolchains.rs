//! `scripts/toolchains.sh`: on a machine that has next to nothing it names everything that is
//! missing, and the commands that install it. And a disk without room is told before a build.

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

#[test]
fn a_disk_without_room_is_told_before_anything_is_built() {
    let needs = |gib: u64, target: &Path| {
        let script = format!(". scripts/lib.sh; need_space {gib}");
        let mut bash = Command::new("bash");
        bash.args(["-euc", &script]).current_dir(programs::repository());
        let output = bash.env("CARGO_TARGET_DIR", target).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let target = tempfile::tempdir().unwrap();
    assert_eq!(needs(0, target.path()), (true, String::new()));
    // More than any disk has.
    let (goes_on, said) = needs(1 << 40, target.path());
    assert!(!goes_on, "{said}");
    for told in ["GiB", "make room", "CARGO_TARGET_DIR", target.path().to_str().unwrap()] {
        assert!(said.contains(told), "{told} in {said}");
    }
    // What is built already is there.
    std::fs::create_dir(target.path().join("debug")).unwrap();
    assert_eq!(needs(1 << 40, target.path()), (true, String::new()));
}
