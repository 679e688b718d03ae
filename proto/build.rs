//! Generates the stubs with protox, a compiler in Rust, so that nobody needs protoc.
//!
//! Two sets come out of the same files. Clients get the messages as they are written. Servers get
//! a view of them in which the payload messages (see `OPAQUE`) are `bytes`: on the wire the two are
//! the same, and a server can store and splice encoded events and messages without decoding them.

use std::path::{Path, PathBuf};

use prost::Message as _;
use prost_types::FileDescriptorSet;
use prost_types::field_descriptor_proto::Type;

const FILES: &[&str] = &[
    "eventstore/v1/event.proto",
    "eventstore/v1/event_store.proto",
    "eventstore/v1/consumer_groups.proto",
    "eventstore/v1/topics.proto",
    "messagequeue/v1/message.proto",
    "messagequeue/v1/message_queue.proto",
    "messagequeue/v1/queues.proto",
];

/// What errors carry. Compiled for reflection alone, so that grpcurl can show it.
const ERROR_DETAILS: &str = "google/rpc/error_details.proto";

/// Fields of these types are `bytes` in the servers' view.
const OPAQUE: &[&str] = &[
    ".eventstore.v1.Event",
    ".eventstore.v1.RecordedEvent",
    ".messagequeue.v1.Message",
    ".messagequeue.v1.ReplyContent",
];

fn main() -> anyhow::Result<()> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    for file in FILES {
        println!("cargo:rerun-if-changed={file}");
    }
    println!("cargo:rerun-if-changed=google/rpc");

    let paths: Vec<PathBuf> = FILES.iter().map(|file| root.join(file)).collect();
    let files = protox::compile(&paths, [&root])?;
    let described = protox::compile(paths.iter().chain([&root.join(ERROR_DETAILS)]), [&root])?;
    for package in ["eventstore", "messagequeue"] {
        let described = described_by(&described, package);
        std::fs::write(out.join(format!("{package}.bin")), described.encode_to_vec())?;
    }

    generate(files.clone(), Side::Client, &out.join("client"))?;
    generate(opaque(files), Side::Server, &out.join("server"))
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Client,
    Server,
}

fn generate(files: FileDescriptorSet, side: Side, out: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(out)?;
    tonic_prost_build::configure()
        .build_client(side == Side::Client)
        .build_server(side == Side::Server)
        .bytes(".")
        .btree_map(".")
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        .out_dir(out)
        .compile_fds(files)?;
    Ok(())
}

/// What one package needs: its own files and those of google.
fn described_by(files: &FileDescriptorSet, package: &str) -> FileDescriptorSet {
    let needed = |name: &str| name.starts_with(package) || name.starts_with("google/");
    let file = files.file.iter().filter(|file| needed(file.name())).cloned().collect();
    FileDescriptorSet { file }
}

fn opaque(mut files: FileDescriptorSet) -> FileDescriptorSet {
    let fields = files
        .file
        .iter_mut()
        .flat_map(|file| &mut file.message_type)
        .flat_map(|message| &mut message.field);
    for field in fields {
        if OPAQUE.contains(&field.type_name()) {
            field.set_type(Type::Bytes);
            field.type_name = None;
        }
    }
    files
}
