# What the node takes from Debian: tools at run time, a compiler and headers at build time.

# Package and a file of it: asking the file system is faster than asking dpkg, and a tool that came
# by another way counts as well.
PACKAGES=(
  buildah:/usr/bin/buildah
  busybox-static:/bin/busybox
  ca-certificates:/etc/ssl/certs/ca-certificates.crt
  conntrack:/usr/sbin/conntrack
  containernetworking-plugins:/usr/lib/cni/bridge
  curl:/usr/bin/curl
  gcc:/usr/bin/gcc
  iproute2:/usr/sbin/ip
  iptables:/usr/sbin/iptables
  kmod:/usr/sbin/modprobe
  libc6-dev:/usr/include/stdlib.h
  libseccomp-dev:/usr/include/seccomp.h
  nftables:/usr/sbin/nft
  openssl:/usr/bin/openssl
  pkg-config:/usr/bin/pkg-config
  procps:/usr/sbin/sysctl
  skopeo:/usr/bin/skopeo
  socat:/usr/bin/socat
)

ensure_packages() {
  local entry missing=()
  for entry in "${PACKAGES[@]}"; do
    [[ -e ${entry#*:} ]] || missing+=("${entry%%:*}")
  done
  ((${#missing[@]} > 0)) || return 0
  need_root build
  command -v apt-get >/dev/null ||
    die "missing: ${missing[*]}. Install what corresponds to these Debian packages and repeat"
  timed "installing Debian packages ${missing[*]}" install_packages "${missing[@]}"
}

install_packages() {
  local log
  log=$(mktemp)
  # A fresh image has no package lists, an old one stale lists whose versions are gone.
  if ! apt_install "$@" >"$log" 2>&1; then
    apt-get update >>"$log" 2>&1 && apt_install "$@" >>"$log" 2>&1 ||
      { tail -n 25 "$log" >&2; die "apt could not install: $*"; }
  fi
  rm -f "$log"
}

apt_install() { DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$@"; }

# Any Go since 1.21 fetches the one that go.mod asks for by itself. Debian's may be older, or there may be none; then the
# toolchain comes as what it is for a Go of any age: a module, which go checks against the checksum database.
ensure_go() {
  local wanted
  wanted=$(awk '$1 == "go" { print $2; exit }' "$HERE/go.mod")
  ! go_suffices || return 0
  if ! command -v go >/dev/null; then
    need_root build
    command -v apt-get >/dev/null || die "no 'go' in PATH. Install Go $wanted or newer and repeat"
    timed "installing Debian's Go" install_packages golang-go
    ! go_suffices || return 0
  fi
  timed "fetching Go $wanted" fetch_go "$wanted"
  PATH=$(fetched_go "$wanted")/bin:$PATH
  go_suffices || die "Go $wanted or newer is needed, this is $(cd / && go version). Install it, or unset GOTOOLCHAIN so that go can fetch it"
}

go_suffices() { (cd "$HERE" && go version && go list -m) >/dev/null 2>&1; }

# An old Go would read go.mod and stumble over its syntax, so it is kept out of the module's directory.
fetch_go() (
  cd /
  go mod download "golang.org/toolchain@$(toolchain "$1")" || die "Go $1 could not be fetched; is the module proxy reachable?"
  # Module archives carry no modes.
  find "$(fetched_go "$1")"/{bin,pkg/tool} -type f -exec chmod +x {} +
)

fetched_go() { echo "$(cd / && go env GOMODCACHE)/golang.org/toolchain@$(toolchain "$1")"; }

toolchain() { echo "v0.0.1-go$1.linux-$(cd / && go env GOARCH)"; }
