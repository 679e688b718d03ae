#!/usr/bin/env bash
# Plays the scenario again and again for SOAK_MINUTES while services and Redis are killed;
# arguments go to the `soak` program (see `soak --help`).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need_rust
need_redis
if [ -z "${NO_BUILD:-}" ]; then
  cargo build ${LOCKED:-} --release --workspace --bins
fi
exec "${CARGO_TARGET_DIR:-target}/release/soak" "$@"
