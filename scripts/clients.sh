#!/usr/bin/env bash
# Builds the example clients (clients/): fetches each language's packages at pinned versions,
# generates stubs from proto/ and compiles, all into target/clients. What is up to date is left
# alone. Names as arguments build only those: python, go, typescript, java.
#   NO_BUILD=1   only checks that they were built
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
# Standard input belongs to the client that is run afterwards.
exec </dev/null

BUF=$PWD/target/tools/bin/buf
out=$PWD/target/clients

# toolchain LANGUAGE: installs what it is built with, unless it is here.
toolchain() {
  case $1 in
    python) # in a virtual environment: a system's Python may refuse packages elsewhere
      python3 -c 'import ensurepip, venv' 2>/dev/null ||
        install_package python3 python3-venv -- "no Python with venv is here, and the client in Python runs in one" ;;
    go) have_program go || install_package golang-go -- "no go is here, and the client in Go is built with it" ;;
    typescript)
      have_program node && have_program npm ||
        install_package nodejs npm -- "no node and npm are here, and the client in TypeScript is built with them" ;;
    java)
      have_program javac && have_program mvn ||
        install_package default-jdk-headless maven -- "no javac and mvn are here, and the client in Java is built with them" ;;
  esac
}

# Not the function of that name below.
have_program() { type -P "$1" >/dev/null; }

# stamp LANGUAGE: what it is built from.
stamp() {
  local from=(scripts/clients.sh proto/eventstore proto/messagequeue)
  case $1 in
    python) from+=(clients/python/{requirements.txt,buf.gen.yaml,grpc_plugin.py}) ;; # the rest runs as it is
    go) from+=(clients/go/{*.go,*.mod,*.sum,buf.gen.yaml,tools}) ;;
    typescript) from+=(clients/typescript/{*.json,buf.gen.yaml,src}) ;;
    java) from+=(clients/java/{pom.xml,buf.gen.yaml,src}) ;;
  esac
  find "${from[@]}" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum
}

# quietly LOG COMMAND...: shows what a command said only if it fails.
quietly() {
  local log=$out/$1.log
  shift
  "$@" >"$log" 2>&1 || { cat "$log" >&2; fail "$1 failed"; }
}

python() {
  local dir=$out/python
  say "python: fetching packages with pip, generating stubs"
  rm -rf "$dir"
  python3 -m venv "$dir/venv"
  # From another folder, so that pip does not take a package's folder for one in this.
  (cd "$dir" && quietly python venv/bin/pip --disable-pip-version-check install -q --only-binary :all: \
    -r ../../../clients/python/requirements.txt)
  scripts/tools.sh buf
  quietly python "$BUF" generate --template clients/python/buf.gen.yaml
}

go() {
  local dir=$out/go
  say "go: fetching modules, generating stubs, building"
  rm -rf "$dir"
  mkdir -p "$dir/bin"
  scripts/tools.sh buf
  # The plugins are pinned by go.mod like everything else that is imported.
  (cd clients/go/tools && GOBIN=$dir/bin quietly go command go install -mod=readonly \
    google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc)
  quietly go "$BUF" generate --template clients/go/buf.gen.yaml
  cp clients/go/stubs.mod "$dir/stubs/go.mod"
  (cd clients/go && quietly go command go build -mod=readonly -o "$dir/bin/example" .)
}

typescript() {
  local dir=$out/typescript
  say "typescript: fetching packages with npm, generating stubs, compiling"
  rm -rf "$dir"
  mkdir -p "$dir"
  scripts/tools.sh buf
  cp -r clients/typescript/{package.json,package-lock.json,tsconfig.json,src} "$dir"
  (cd "$dir" && quietly typescript npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier)
  quietly typescript "$BUF" generate --template clients/typescript/buf.gen.yaml
  (cd "$dir" && quietly typescript npm run build)
}

java() {
  local dir=$out/java
  say "java: fetching packages with mvn, generating stubs, compiling"
  rm -rf "$dir"
  scripts/tools.sh buf
  (cd clients/java && quietly java mvn -B -ntp package)
}

if [ $# -eq 0 ]; then set -- python go typescript java; fi
mkdir -p "$out"
exec 9>"$out/.lock"
flock 9
missing=()
for language in "$@"; do
  case $language in
    python | go | typescript | java) ;;
    *) fail "no such client: $language (there are python, go, typescript, java)" ;;
  esac
  [ "$(cat "$out/$language/.built" 2>/dev/null)" = "$(stamp "$language")" ] || missing+=("$language")
done
if [ -n "${NO_BUILD:-}" ] && [ ${#missing[@]} -gt 0 ]; then
  fail "not built, or changed since: run scripts/clients.sh ${missing[*]}"
fi
for language in "${missing[@]}"; do toolchain "$language"; done
for language in "${missing[@]}"; do
  "$language"
  stamp "$language" >"$out/$language/.built"
done
