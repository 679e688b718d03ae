#!/usr/bin/env bash
# The long runs: the tests that draw at random with more cases and more data, the fuzz targets, a
# rolling restart at full load, then the scenario again and again for SOAK_MINUTES while services and
# Redis are killed. Arguments go to the `soak` program (see `soak --help`).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need_rust
need_redis
scripts/tools.sh valkey

say "== histories against the models, crowds, random bytes"
export PROPERTY_CASES="${PROPERTY_CASES:-3000}" EVENTS="${EVENTS:-100000}" RANDOM_STRINGS="${RANDOM_STRINGS:-1000000}"
cargo test ${LOCKED:-} -p event-store-svc --test property --test concurrency --test bad_input -- --nocapture
cargo test ${LOCKED:-} -p message-queue-svc --test queue model -- --nocapture
MESSAGES="${MESSAGES:-200000}" cargo test ${LOCKED:-} -p message-queue-svc --test replicas -- --nocapture

say "== fuzzing"
scripts/fuzz.sh

say "== chaos"
export CHAOS_SEEDS="${CHAOS_SEEDS:-1 2 3 4 5}" CHAOS_SCALE="${CHAOS_SCALE:-20}"
cargo build ${LOCKED:-} --workspace --all-targets
cargo test ${LOCKED:-} -p system-tests --test chaos -- --nocapture

if [ -z "${NO_BUILD:-}" ]; then
  cargo build ${LOCKED:-} --release --workspace --bins
fi

say "== a rolling restart under load"
BIN_DIR="$(realpath "${CARGO_TARGET_DIR:-target}/release")" ROLLING_RATE="${ROLLING_RATE:-2000}" \
  cargo test ${LOCKED:-} --workspace --test rolling -- --nocapture

say "== the scenario under kills"
exec "${CARGO_TARGET_DIR:-target}/release/soak" "$@"
