//! A client in another language, made from the protos alone.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use system_tests::programs;
use system_tests::system::System;
use system_tests::topology::{EVENT_STORE, MESSAGE_QUEUE};

fn python(path: &[&Path]) -> Command {
    let packages = programs::repository().join("target/tools/python");
    assert!(packages.is_dir(), "{} is not there: fetch it with `make tools`", packages.display());
    let folders = path.iter().map(|folder| folder.to_path_buf()).chain([packages]);
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", std::env::join_paths(folders).unwrap());
    command
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    output
}

/// Our own protos; google.rpc comes with the packages, as everywhere.
fn protos() -> Vec<PathBuf> {
    let root = programs::repository().join("proto");
    let folders = ["eventstore/v1", "messagequeue/v1"];
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(root.join(folder)).unwrap());
    files.map(|file| file.unwrap().path()).collect()
}

#[tokio::test]
async fn a_python_client_works() {
    let system = System::services().await.unwrap();
    let stubs = tempfile::tempdir().unwrap();
    let root = programs::repository().join("proto");
    let arguments = [
        format!("-I{}", root.display()),
        format!("--python_out={}", stubs.path().display()),
        format!("--grpc_python_out={}", stubs.path().display()),
    ];
    succeed(python(&[]).args(["-m", "grpc_tools.protoc"]).args(arguments).args(protos()));

    let address = |name| system.url(name).unwrap().replace("http://", "");
    let addresses = [address(EVENT_STORE), address(MESSAGE_QUEUE)];
    let script = programs::repository().join("tests/python/client.py");
    let mut client = python(&[stubs.path()]);
    client.arg(script).args(addresses);
    let output = tokio::task::spawn_blocking(move || succeed(&mut client)).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "all well");
}
