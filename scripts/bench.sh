#!/usr/bin/env bash
# Builds what is shipped and measures it; arguments go to the `bench` program (see `bench --help`).
#   PROFILE=release   builds in half of the time, runs slower
#   NO_BUILD=1        measures what was built before
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

profile=${PROFILE:-dist}
case $profile in
  dist | release) ;;
  *) fail "PROFILE is dist or release, not $profile" ;;
esac
need_rust
need_redis
if [ -z "${NO_BUILD:-}" ]; then
  cargo build ${LOCKED:-} --profile "$profile" --workspace --bins
fi
exec "${CARGO_TARGET_DIR:-target}/$profile/bench" "$@"
