#!/usr/bin/env bash
# Builds the whole system and runs it here until Ctrl-C; the running itself is done by the `up`
# program of the tests crate. Ports and places come from the environment: see `up --help`.
#   PROFILE=debug   builds faster, runs slower
#   NO_BUILD=1      runs what was built before
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

profile=${PROFILE:-release}
case $profile in
  release) flags=(--release) ;;
  debug) flags=() ;;
  *) fail "PROFILE is release or debug, not $profile" ;;
esac

# A taken port is better told before a build of minutes than after it. When an earlier run left a
# list of its processes, `up` sorts that out first and looks at the ports itself.
check_port() {
  local port=$1 name=$2 variable=$3 owner=
  if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    if have ss; then
      owner=$(ss -Hltnp "sport = :$port" 2>/dev/null | sed -nE 's/.*users:\(\("([^"]*)",pid=([0-9]+).*/ by \1 (pid \2)/p' | head -1)
    fi
    fail "port $port, meant for $name, is taken$owner: stop that, or choose another with $variable=..."
  fi
}
if [ ! -e "${DATA_DIR:-data}/run/children" ]; then
  check_port "${REDIS_PORT:-6390}" Redis REDIS_PORT
  check_port "${EVENT_STORE_PORT:-50051}" event-store-svc EVENT_STORE_PORT
  check_port "${MESSAGE_QUEUE_PORT:-50052}" message-queue-svc MESSAGE_QUEUE_PORT
  check_port "${GATEWAY_PORT:-5000}" api-gateway GATEWAY_PORT
fi

need_redis
if [ -z "${NO_BUILD:-}" ]; then
  need_rust
  say "building ($profile); the first time takes some minutes"
  # As the user typed Ctrl-C, cargo stops by itself and so does this.
  cargo build "${flags[@]}" --workspace --bins
fi
up=${CARGO_TARGET_DIR:-target}/$profile/up
[ -x "$up" ] || fail "$up is not there: build it first (without NO_BUILD)"
exec "$up"
