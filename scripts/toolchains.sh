#!/usr/bin/env bash
# Names every program that `make test` needs and that is not here, all at once and with the command
# that installs them; then installs them, through apt. With --check it only names them.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

packages=()

# wanted WHAT WHY PACKAGE... -- COMMAND...: is missing unless the command succeeds.
wanted() {
  local what=$1 why=$2 for_it=()
  shift 2
  while [ "$1" != -- ]; do for_it+=("$1"); shift; done
  shift
  if "$@" >/dev/null 2>&1; then return; fi
  say "missing: $what ($why)"
  packages+=("${for_it[@]}")
}

any_of() { local name; for name in "$@"; do ! have "$name" || return 0; done; return 1; }
all_of() { local name; for name in "$@"; do have "$name" || return 1; done; }

if [ -x "${HOME:-}/.cargo/bin/cargo" ]; then PATH=$HOME/.cargo/bin:$PATH; fi
no_rust=
have cargo || { no_rust=yes; say "missing: cargo (everything is built with it)"; }

wanted cc "rustc links with it" gcc libc6-dev -- have cc
wanted curl "commands in the docs" curl -- have curl
wanted openssl "certificates of deploy/" openssl -- have openssl
wanted "a Redis or Valkey server" "every test has its own" redis-server -- any_of "${REDIS_SERVER_BIN:-redis-server}" valkey-server
wanted go "the client in Go, grpcurl, ghz" golang-go -- have go
wanted "python3 with pip" "buf and other tools come as wheels" python3 python3-pip -- python3 -m pip --version
wanted "python3 with venv" "the client in Python" python3 python3-venv -- python3 -c "import ensurepip, venv"
wanted "node and npm" "the client in TypeScript, the checks of the shop's page" nodejs npm -- all_of node npm
wanted "javac and mvn" "the client in Java" default-jdk-headless maven -- all_of javac mvn
wanted Chromium "the shop's page" chromium -- any_of "${CHROMIUM_BIN:-chromium}" chromium-browser google-chrome

if [ -n "$no_rust" ]; then
  say "Rust is installed with: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
fi
if [ ${#packages[@]} -gt 0 ]; then
  mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)
  as_root=
  if [ "$(id -u)" -ne 0 ]; then as_root="sudo "; fi
  say "what is missing is installed with: ${as_root}apt-get install -y --no-install-recommends ${packages[*]}"
fi
if [ -n "$no_rust" ]; then exit 1; fi
if [ ${#packages[@]} -eq 0 ]; then exit 0; fi
if [ "${1:-}" = --check ]; then exit 1; fi
install_package "${packages[@]}" -- "they are missing"
