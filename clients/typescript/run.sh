#!/usr/bin/env bash
# Builds the client in TypeScript if need be, and runs it; without arguments it lists what it does.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
"$here/../../scripts/clients.sh" typescript >&2
SERVICE_CONFIG=$here/../service-config.json \
  exec node --enable-source-maps "$here/../../target/clients/typescript/dist/main.js" "$@"
