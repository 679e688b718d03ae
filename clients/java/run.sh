#!/usr/bin/env bash
# Builds the client in Java if need be, and runs it; without arguments it lists what it does.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
"$here/../../scripts/clients.sh" java >&2
# Flags for a small program that starts quickly; a server does without them.
SERVICE_CONFIG=$here/../service-config.json \
  exec java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto -Xmx128m \
  -jar "$here/../../target/clients/java/example.jar" "$@"
