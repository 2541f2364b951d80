# Compiles the node's programs from Go modules into a directory named after everything that
# determines them, so that clones with the same recipe share one build.

BUILD_RECIPE=$(cd "$HERE" && sha256sum go.mod go.sum cmd/node/*.go tools.go lib/build.sh |
  sha256sum | cut -c1-16)
BIN=$NODE_HOME/bin/$BUILD_RECIPE

TOOL_PACKAGES=(
  github.com/containerd/containerd/v2/cmd/containerd
  github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2
  github.com/containerd/containerd/v2/cmd/ctr
  github.com/distribution/distribution/v3/cmd/registry
  helm.sh/helm/v4/cmd/helm
  k8s.io/kubernetes/cmd/kubectl
)

command_build() {
  local start
  start=$(now_ms)
  build
  say "programs: $BIN ($(seconds_since "$start"))"
}

# The versions file is written last: it marks a whole build.
build() {
  ensure_packages
  [[ ! -e $BIN/versions ]] || { build_images; return; }
  ensure_go
  lock "build-$BUILD_RECIPE" 3600
  [[ -e $BIN/versions ]] || compile
  build_images
}

compile() (
  cd "$HERE"
  export GOFLAGS=-buildvcs=false
  mkdir -p "$BIN"
  timed "downloading Go modules" go mod download
  # Without cgo the programs are static and share every compiled package; runc needs it to enter
  # namespaces before Go's runtime starts threads.
  export CGO_ENABLED=0
  timed "compiling the Kubernetes programs (about 9 minutes with an empty cache)" go_build ./cmd/node
  timed "compiling containerd, registry, helm, kubectl (about 3 minutes)" go_build "${TOOL_PACKAGES[@]}"
  # Alone: it imports logrus by its old upper-case path, which go refuses beside the present one.
  timed "compiling local-path-provisioner" go_build github.com/rancher/local-path-provisioner
  CGO_ENABLED=1 timed "compiling runc" go_build -tags seccomp github.com/opencontainers/runc
  versions | write_file "$BIN/versions"
)

go_build() {
  nice -n 5 go build -trimpath -ldflags "$(linker_flags)" -o "$BIN/" "$@" ||
    die "the Go build failed; its messages are above"
}

# Module builds do not know their own version unless told.
linker_flags() {
  local kubernetes minor package
  kubernetes=$(module_version k8s.io/kubernetes)
  minor=${kubernetes#v1.}
  echo "-s -w"
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    echo "-X $package.gitVersion=$kubernetes -X $package.gitMajor=1 -X $package.gitMinor=${minor%%.*}"
    echo "-X $package.gitTreeState=clean"
  done
  echo "-X helm.sh/helm/v4/internal/version.version=$(module_version helm.sh/helm/v4)"
  echo "-X github.com/containerd/containerd/v2/version.Version=$(module_version github.com/containerd/containerd/v2)"
  echo "-X github.com/distribution/distribution/v3/version.version=$(module_version github.com/distribution/distribution/v3)"
}

# Reads go.mod's direct requirements; asking go for it costs a second each.
module_version() { awk -v module="$1" '$1 == module && NF == 2 { print $2; exit }' "$HERE/go.mod"; }

versions() {
  local module
  for module in k8s.io/kubernetes go.etcd.io/etcd/server/v3 github.com/containerd/containerd/v2 \
    github.com/opencontainers/runc github.com/coredns/coredns github.com/distribution/distribution/v3 \
    github.com/rancher/local-path-provisioner helm.sh/helm/v4; do
    echo "$module $(module_version "$module")"
  done
}
