#!/usr/bin/env bash
# Everything that must hold, from formatting and lints to the end-to-end scenario. The servers
# that tests start listen on free ports, so it may run beside `make up`.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

started=$SECONDS
if [ "${CARGO_INCREMENTAL:-}" = 0 ]; then need_space 7; else need_space 12; fi
scripts/toolchains.sh
need_rust
need_redis
scripts/tools.sh
scripts/clients.sh
scripts/lint.sh
# With --all-targets, so that programs and tests share one set of compiled dependencies.
say "== build"
cargo build ${LOCKED:-} --workspace --all-targets
say "== tests"
# A test that hangs fails its own suite, and the others go on.
host=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
export "CARGO_TARGET_${host}_RUNNER=timeout --foreground --kill-after=10 ${SUITE_SECONDS:-1200}"
cargo test ${LOCKED:-} --workspace --no-fail-fast
say "everything holds, after $(((SECONDS - started) / 60)) min $(((SECONDS - started) % 60)) s"
