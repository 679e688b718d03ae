#!/usr/bin/env bash
# Formatting, clippy with the workspace's lints, buf over the protos (lint and breaking), and the
# shell of scripts/.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need_rust
scripts/tools.sh buf
say "== formatting"
cargo fmt --all --check
say "== protos"
target/tools/bin/buf lint
scripts/breaking.sh
say "== scripts"
for script in scripts/*.sh clients/*/run.sh .ci/run; do bash -n "$script"; done
say "== clippy"
cargo clippy ${LOCKED:-} --workspace --all-targets -- -D warnings
