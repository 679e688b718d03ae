#!/usr/bin/env bash
# Builds the client in Python if need be, and runs it; `run.sh --help` lists what it does.
#   STUBS   a folder with other generated stubs to run it with
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
"$here/../../scripts/clients.sh" python >&2
built=$here/../../target/clients/python
export PYTHONPATH="${STUBS:-$built/stubs}:$here" PYTHONDONTWRITEBYTECODE=1
exec "$built/venv/bin/python" -m example "$@"
