#!/usr/bin/env bash
# Plays the shop's scenario against a running `make up`; GATEWAY_URL names another gateway.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

profile=${PROFILE:-release}
demo=${CARGO_TARGET_DIR:-target}/$profile/shop-demo
[ -x "$demo" ] || fail "$demo is not there: start \`make up\` first, which builds it"
exec "$demo" --url "${GATEWAY_URL:-http://127.0.0.1:${GATEWAY_PORT:-5000}}"
