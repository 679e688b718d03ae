#!/usr/bin/env bash
# Builds the client in Go if need be, and runs it; without arguments it lists what it does.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
"$here/../../scripts/clients.sh" go >&2
SERVICE_CONFIG=$here/../service-config.json exec "$here/../../target/clients/go/bin/example" "$@"
