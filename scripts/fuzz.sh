#!/usr/bin/env bash
# Fuzzes what the event store reads back from Redis and from its clients (fuzz/), each target for
# FUZZ_SECONDS; arguments name targets. What is found along the way is kept in target/fuzz/corpus,
# what fails in target/fuzz/failed: run a target's program with such a file to see it again.
#   FUZZ_SECONDS=0   only what is in fuzz/seeds and was found before
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need_rust
have c++ || install_package g++ -- "no C++ compiler (c++) is here, and libFuzzer is built with it"
seconds=${FUZZ_SECONDS:-60}
[[ $seconds =~ ^[0-9]+$ ]] || fail "FUZZ_SECONDS is a number of seconds, not $seconds"
if [ $# -eq 0 ]; then set -- event entry texts; fi

target=${CARGO_TARGET_DIR:-target}/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
# What `cargo fuzz` passes, less the sanitizers: those need another toolchain, and there is no
# unsafe code here for them to watch.
flags=(--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module
  -Cllvm-args=-sanitizer-coverage-level=4
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
  -Cllvm-args=-sanitizer-coverage-pc-table
  -Cllvm-args=-sanitizer-coverage-trace-compares)
say "building the fuzz targets; the first time takes some minutes"
# With a target, so that programs that only run while building are not instrumented.
RUSTFLAGS="${flags[*]}" cargo build ${LOCKED:-} --release \
  --manifest-path fuzz/Cargo.toml --target-dir "$target" --target "$host"

limit=(-max_total_time="$seconds")
if [ "$seconds" -eq 0 ]; then limit=(-runs=0); fi
mkdir -p "$target/failed"
for name in "$@"; do
  mkdir -p "$target/corpus/$name"
  log=$target/$name.log
  if ! "$target/$host/release/$name" "${limit[@]}" -timeout=10 -rss_limit_mb=2048 -max_len=4096 \
    -print_final_stats=1 -artifact_prefix="$target/failed/$name-" \
    "$target/corpus/$name" "fuzz/seeds/$name" >"$log" 2>&1; then
    tail -40 "$log" >&2
    fail "the fuzz target $name failed; the whole log is $log"
  fi
  runs=$(sed -nE 's/^stat::number_of_executed_units: *//p' "$log")
  found=$(sed -nE 's/^stat::new_units_added: *//p' "$log")
  say "fuzz target $name: $runs inputs, $found of them new, none failed"
done
