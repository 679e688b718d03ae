#!/usr/bin/env bash
# `buf breaking`: the protos as they are here against the newest commit of main that is not the one
# checked out (with changes that are not committed: that one), and against the first that landed
# (tests/fixtures/proto-first). Fails where there is no history to compare with.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

BUF=$PWD/target/tools/bin/buf

# The commit to compare with. main may be here, at origin, or both; HEAD may be main, ahead of it, or
# of a branch that main has outrun: what they have in common is what this one has to keep.
base() {
  local head main base='' found
  head=$(git rev-parse --verify -q HEAD) || fail "buf breaking needs the git history: this is no clone, or one without a commit"
  for main in refs/heads/main refs/remotes/origin/main; do
    found=$(git merge-base "$head" "$main" 2>/dev/null) || continue
    # The newer one of both.
    if [ -z "$base" ] || git merge-base --is-ancestor "$base" "$found"; then base=$found; fi
  done
  # No main at all: a clone of one commit or one branch alone.
  [ -n "$base" ] || base=$head
  if [ "$base" = "$head" ] && git diff --quiet HEAD -- proto; then
    base=$(git rev-parse --verify -q "HEAD^") ||
      fail "buf breaking has no earlier commit to compare the protos with, as this clone has only the last one: run \`git fetch --unshallow\`, then try again"
  fi
  printf '%s' "$base"
}

# compare WHAT FOLDER: with the protos in that folder.
compare() {
  "$BUF" breaking --against "$2" ||
    fail "these changes of proto/ break clients that were made from $1: keep what is there, and add (buf.yaml has the rules)"
}

before=$(mktemp -d)
trap 'rm -rf "$before"' EXIT
if [ "${PROTO_HISTORY:-}" = none ]; then
  say "PROTO_HISTORY=none: not held against an earlier commit"
else
  commit=$(base)
  git archive "$commit" proto buf.yaml | tar -x -C "$before"
  compare "commit $(git rev-parse --short "$commit")" "$before"
fi

mkdir "$before/first"
cp -r tests/fixtures/proto-first "$before/first/proto"
cp buf.yaml "$before/first"
compare "the protos that landed first (tests/fixtures/proto-first)" "$before/first"
