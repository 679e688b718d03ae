#!/usr/bin/env bash
# Builds for release and measures; arguments go to the `bench` program (see `bench --help`).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need_rust
need_redis
if [ -z "${NO_BUILD:-}" ]; then
  cargo build ${LOCKED:-} --release --workspace --bins
fi
exec "${CARGO_TARGET_DIR:-target}/release/bench" "$@"
