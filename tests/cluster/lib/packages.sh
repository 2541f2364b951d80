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

# With GOTOOLCHAIN=auto any Go since 1.21 fetches the one that go.mod asks for.
ensure_go() {
  local wanted
  wanted=$(awk '$1 == "go" { print $2; exit }' "$HERE/go.mod")
  command -v go >/dev/null ||
    die "no 'go' in PATH. Install Go $wanted or newer from the Go project's download page (Debian's own is too old) and repeat"
  (cd "$HERE" && go version >/dev/null 2>&1) ||
    die "Go $wanted or newer is needed, this is $(cd / && go env GOVERSION). Install it, or unset GOTOOLCHAIN so that go can fetch it"
}
