# What the scripts share: messages, and system packages that are installed only after saying so.
# Sourced, not run.

say() { printf '%s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# install_package PACKAGE... -- WHY: through apt, said before it is done.
install_package() {
  local packages=() as_root=()
  while [ "$1" != -- ]; do packages+=("$1"); shift; done
  shift
  if ! have apt-get; then
    fail "$* and apt-get is not here to install ${packages[*]}: install it, then try again"
  fi
  if [ "$(id -u)" -ne 0 ]; then
    have sudo || fail "$*: install ${packages[*]} as root, then try again"
    as_root=(sudo)
  fi
  say "$*: installing ${packages[*]} with apt-get"
  "${as_root[@]}" apt-get update -q >/dev/null || say "apt-get update failed; trying with the lists that are here"
  # Another apt may be at work on a machine that was just started.
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 "${packages[@]}" >/dev/null ||
    fail "could not install ${packages[*]}"
}

# A Redis or Valkey server; sets REDIS_SERVER_BIN to its path unless it is set already.
need_redis() {
  if [ -n "${REDIS_SERVER_BIN:-}" ]; then
    have "$REDIS_SERVER_BIN" || fail "REDIS_SERVER_BIN=$REDIS_SERVER_BIN is no program"
  else
    if ! have redis-server && ! have valkey-server; then
      install_package redis-server -- "no redis-server or valkey-server is here"
    fi
    REDIS_SERVER_BIN=$(command -v redis-server || command -v valkey-server)
  fi
  export REDIS_SERVER_BIN
}

# A Chromium to look at the shop's page with, unless CHROMIUM_BIN names one.
need_chromium() {
  if [ -n "${CHROMIUM_BIN:-}" ]; then
    have "$CHROMIUM_BIN" || fail "CHROMIUM_BIN=$CHROMIUM_BIN is no program"
  elif ! have chromium && ! have chromium-browser && ! have google-chrome; then
    install_package chromium -- "no Chromium is here, and the shop's page is tested in one"
  fi
}

# Node and npm, which run what looks at the page.
need_node() {
  local major
  have node && have npm ||
    install_package nodejs npm -- "no node and npm are here, and the checks of the shop's page run with them"
  major=$(node --version | sed -E 's/^v([0-9]+).*/\1/')
  [ "$major" -ge 18 ] || fail "node is $(node --version): the checks of the shop's page need 18 or newer"
}

# Cargo, and the C linker that rustc calls.
need_rust() {
  if ! have cargo && [ -x "$HOME/.cargo/bin/cargo" ]; then PATH="$HOME/.cargo/bin:$PATH"; fi
  have cargo || fail "cargo is not here: install Rust 1.88 or newer (rustup.rs), then try again"
  have cc || install_package gcc libc6-dev -- "no C linker (cc) is here, and rustc needs one"
}

# need_space GIB: says at once that the disk is too full for a build from nothing, rather than with
# whatever the compiler makes of it half an hour later. What was built before needs less.
need_space() {
  local target=${CARGO_TARGET_DIR:-target} free
  [ ! -d "$target/debug" ] || return 0
  mkdir -p "$target"
  free=$(($(df -Pk "$target" | awk 'NR == 2 { print $4 }') / 1048576))
  [ "$free" -ge "$1" ] ||
    fail "building needs $1 GiB in $(realpath "$target"), and $free are free: make room, or set CARGO_TARGET_DIR to a folder on another disk"
}
