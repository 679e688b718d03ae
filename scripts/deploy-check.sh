#!/usr/bin/env bash
# Checks everything under deploy/ without a cluster and without Docker. Names as arguments run only those:
#   dockerfile   hadolint; what it copies is a workspace that cargo can read
#   compose      Compose's own parser; hardening; images that the Dockerfile can build
#   kubernetes   every overlay rendered, held against the schemas of two Kubernetes versions and kube-score
#   alerts       promtool: syntax, and of each alert a test that it fires and one that it does not
#   dashboards   valid, every query parses, names no metric that docs/metrics.md does not have
#   flags        every flag and variable that manifests set is one that the program explains
# DEPLOY is the folder to look at (deploy), BIN_DIR where the built programs are (target/debug).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

deploy=${DEPLOY:-deploy}
bin=${BIN_DIR:-target/debug}
tools=target/tools/bin
# "traced" is prod-shop with the components that switch traces on.
overlays=(dev prod prod-managed-redis prod-shop traced)
for tool in hadolint compose-spec kustomize kube-score promtool; do
  [ -x "$tools/$tool" ] || fail "$tools/$tool is not there: fetch it with \`make tools\`"
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python() { PYTHONPATH=target/tools/deploy-python python3 "$@"; }

# The overlays, and the Secrets that they name, made for nobody.
render() {
  [ -e "$work/secrets.yaml" ] && return
  local source overlay
  mkdir "$work/traced"
  source=$(realpath --relative-to="$work/traced" "$deploy/kustomize")
  printf 'namespace: messaging\nresources: [%s]\ncomponents: [%s, %s]\n' "$source/overlays/prod-shop" "$source/components/traces" \
    "$source/components/shop-traces" >"$work/traced/kustomization.yaml"
  for overlay in "${overlays[@]}"; do
    source=$deploy/kustomize/overlays/$overlay
    [ -e "$source" ] || source=$work/$overlay
    "$tools/kustomize" build "$source" >"$work/$overlay.yaml"
  done
  have openssl || install_package openssl -- "no openssl is here, and certificates are made with it"
  mkdir "$work/secrets"
  (cd "$deploy/kustomize/secrets" && cp .gitignore ./*.yaml ./*.template ./*.sh "$work/secrets")
  "$work/secrets/make.sh" a-caller
  "$tools/kustomize" build "$work/secrets" >"$work/secrets.yaml"
}

compose_model() {
  [ -e "$work/compose.json" ] || "$tools/compose-spec" --format json "$deploy/compose.yaml" >"$work/compose.json"
}

dockerfile() {
  "$tools/hadolint" --failure-threshold info "$deploy/Dockerfile"
  # What the stage that builds gets must be a whole workspace, and .dockerignore must let it through.
  local source missing=()
  mkdir "$work/context"
  while read -r source; do
    [ -e "$source" ] || fail "$deploy/Dockerfile copies $source, which is not there"
    grep -qxF "!$source" .dockerignore || missing+=("$source")
    git ls-files -z --cached --others --exclude-standard -- "$source" | xargs -0 cp --parents -t "$work/context" 2>/dev/null || true
  done < <(sed -n '/ AS build$/,/^FROM.* AS probe$/p' "$deploy/Dockerfile" | sed -nE 's/^COPY (.*) [^ ]+$/\1/p' | tr ' ' '\n')
  [ ${#missing[@]} -eq 0 ] || fail ".dockerignore holds back ${missing[*]}, which $deploy/Dockerfile copies"
  (cd "$work/context" && cargo metadata --no-deps --locked --offline --format-version 1 >/dev/null) ||
    fail "what $deploy/Dockerfile copies is not the whole workspace"
}

compose() {
  compose_model
  python scripts/deploy_manifests.py compose "$work/compose.json" "$deploy/Dockerfile"
}

kubernetes() {
  render
  local overlay ignored
  python scripts/deploy_manifests.py schemas "$work"/*.yaml
  for overlay in "${overlays[@]}"; do
    # Tags do not move and prod names digests, so there is nothing to pull always; replicas are kept
    # apart by topologySpreadConstraints; a limit of CPU would hold up who waits (see the base).
    ignored=(--ignore-test container-image-pull-policy --ignore-test deployment-has-host-podantiaffinity --ignore-container-cpu-limit)
    case $overlay in
      # One replica of each is what dev is about.
      dev) ignored+=(--ignore-test deployment-has-poddisruptionbudget --ignore-test deployment-replicas --ignore-test horizontalpodautoscaler-replicas) ;;
      # Workers of the shop may go away at any time: what they did not finish comes again.
      prod-shop | traced) ignored+=(--ignore-test deployment-has-poddisruptionbudget --ignore-test deployment-replicas) ;;
    esac
    "$tools/kube-score" score --exit-one-on-warning -o ci "${ignored[@]}" "$work/$overlay.yaml" >"$work/score" ||
      { grep -vE '^\[(OK|SKIPPED)\]' "$work/score" >&2; fail "kube-score has something against overlay $overlay"; }
  done
  python scripts/deploy_manifests.py rules "$work/secrets" "${overlays[@]/#/$work/}"
}

alerts() {
  local log=$work/promtool
  "$tools/promtool" check rules "$deploy/prometheus/rules.yml" >"$log" 2>&1 || { cat "$log" >&2; fail "rules.yml"; }
  "$tools/promtool" test rules "$deploy/prometheus/rules_test.yml" >"$log" 2>&1 || { cat "$log" >&2; fail "rules_test.yml"; }
  # Distributions build promtool without discovery in Kubernetes; the rest of that file is checked.
  cp "$deploy/prometheus/"*.yml "$work"
  sed -i '/kubernetes_sd_configs:/,/role:/c\    static_configs: []' "$work/kubernetes.yml"
  for config in prometheus kubernetes; do
    "$tools/promtool" check config "$work/$config.yml" >"$log" 2>&1 || { cat "$log" >&2; fail "$config.yml"; }
  done
  python scripts/deploy_metrics.py alerts "$deploy"
}

dashboards() {
  python scripts/deploy_metrics.py dashboards "$deploy" "$work/queries.yml"
  "$tools/promtool" check rules "$work/queries.yml" >"$work/promtool" 2>&1 ||
    { cat "$work/promtool" >&2; fail "a query of a dashboard is none"; }
}

flags() {
  render
  compose_model
  python scripts/deploy_manifests.py flags "$bin" "$work/compose.json" "${overlays[@]/#/$work/}"
}

if [ $# -eq 0 ]; then set -- dockerfile compose kubernetes alerts dashboards flags; fi
for check in "$@"; do
  case $check in
    dockerfile | compose | kubernetes | alerts | dashboards | flags) "$check" ;;
    *) fail "no such check: $check" ;;
  esac
  say "$check: all well"
done
