# Container images made without any registry: the node's own two (pause, busybox) and the base of
# the product's images. Same packages, same image: times and owners are fixed.

IMAGES_RECIPE=$({ cat "$HERE"/images/*/Containerfile "$HERE/lib/images.sh"
  awk '$1 == "k8s.io/kubernetes"' "$HERE/go.mod"; } | sha256sum | cut -c1-16)
IMAGES=$NODE_HOME/images/$IMAGES_RECIPE

# gcc-*-base holds the licence of libgcc and libstdc++; its name changes with the Debian release.
BASE_PACKAGES=(base-files ca-certificates libc6 libgcc-s1 libstdc++6 netbase tzdata
  "$(dpkg-query -W -f '${Depends}' libgcc-s1 2>/dev/null | grep -o 'gcc-[0-9]*-base' || echo gcc-12-base)")

build_images() {
  [[ ! -e $IMAGES/busybox.tar || ! -e $IMAGES/pause.tar ]] || return 0
  ensure_go
  timed "building the images pause and busybox" build_node_images
}

build_node_images() (
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$IMAGES" "$work"/{pause,busybox/rootfs/{bin,etc,root,tmp}}

  cd "$HERE"
  go mod download k8s.io/kubernetes # no-op unless the cache was emptied after the build
  gcc -Os -static -s -DVERSION=lexiscale -o "$work/pause/pause" \
    "$(go list -m -f '{{.Dir}}' k8s.io/kubernetes)/build/pause/linux/pause.c"
  image_archive pause

  cp /bin/busybox "$work/busybox/rootfs/bin/"
  "$work/busybox/rootfs/bin/busybox" --list | grep -vx busybox |
    while read -r applet; do ln -s busybox "$work/busybox/rootfs/bin/$applet"; done
  users "$work/busybox/rootfs"
  chmod 1777 "$work/busybox/rootfs/tmp"
  image_archive busybox
)

# Builds $work/NAME into an archive, in a store of its own that goes with $work.
image_archive() {
  local name=$1
  local store=(buildah --storage-driver vfs --root "$work/store" --runroot "$work/run")
  "${store[@]}" bud --quiet --isolation chroot --timestamp 0 --tag "$name" \
    --file "$HERE/images/$name/Containerfile" "$work/$name" >/dev/null
  "${store[@]}" push --quiet "$name" "oci-archive:$IMAGES/$name.tar.new" >/dev/null
  mv "$IMAGES/$name.tar.new" "$IMAGES/$name.tar"
}

users() {
  mkdir -p "$1/etc"
  printf 'root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n' >"$1/etc/passwd"
  printf 'root:x:0:\nnogroup:x:65534:\nnonroot:x:65532:\n' >"$1/etc/group"
  printf 'hosts: files dns\n' >"$1/etc/nsswitch.conf"
}

command_base_image() {
  local recipe
  need_root base-image
  ensure_packages
  lock base-image 600
  recipe=$(base_recipe) || { apt-get update >/dev/null && recipe=$(base_recipe); } ||
    die "apt does not know where to download: ${BASE_PACKAGES[*]}"
  if [[ $(buildah --storage-driver overlay inspect --type image \
    --format '{{index .OCIv1.Config.Labels "lexiscale.recipe"}}' "$BASE_IMAGE" 2>/dev/null) == "$recipe" ]]; then
    say "$BASE_IMAGE is there"
    return
  fi
  timed "building $BASE_IMAGE" build_base_image "$recipe"
}

# Changes with the packages' content as well as with the scripts.
base_recipe() {
  local sources
  sources=$(apt-get download --print-uris "${BASE_PACKAGES[@]}" 2>/dev/null) && [[ -n $sources ]] || return 1
  printf '%s\n' "$IMAGES_RECIPE" "$sources" | awk '{ print $NF }' | sha256sum | cut -c1-16
}

build_base_image() (
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  root=$work/rootfs
  mkdir -p "$work/packages" "$root/var/lib/dpkg/status.d"
  # apt drops to a user that must be able to write here.
  chmod 0777 "$work" "$work/packages"
  (cd "$work/packages" && apt-get download "${BASE_PACKAGES[@]}" >/dev/null 2>&1) || die "apt download failed"
  for package in "$work"/packages/*.deb; do
    dpkg-deb -x "$package" "$root"
    # Where vulnerability scanners look in images without a package database.
    dpkg-deb -f "$package" >"$root/var/lib/dpkg/status.d/$(dpkg-deb -f "$package" Package)"
  done
  rm -rf "$root"/usr/share/{man,locale,info,lintian,bug,gcc,gdb} "$root"/usr/lib/*/gconv "$root"/usr/sbin/*
  # Licences stay.
  find "$root/usr/share/doc" -type f ! -name copyright -delete
  mkdir -p "$root"/{etc/ssl/certs,home/nonroot,tmp}
  # Sorted by the shell in the C locale, so that the bundle does not depend on the builder.
  (LC_ALL=C && cat "$root"/usr/share/ca-certificates/mozilla/*.crt) >"$root/etc/ssl/certs/ca-certificates.crt"
  users "$root"
  chmod 1777 "$root/tmp"
  buildah --storage-driver overlay bud --quiet --isolation chroot --timestamp 0 --build-arg "recipe=$1" \
    --tag "$BASE_IMAGE" --file "$HERE/images/cc-base/Containerfile" "$work" >/dev/null
)

# command_push ARCHIVE NAME:TAG: prints the reference by digest, which is what a chart should pin.
command_push() {
  (($# == 2)) || die "usage: cluster push IMAGE_TAR NAME:TAG"
  local digest
  ! external || die "KUBECONFIG names a cluster of yours: push to its registry, for example with skopeo"
  [[ -r $1 ]] || die "no such archive: $1"
  part_healthy registry || die "the node's registry does not answer; run: cluster up"
  digest=$(mktemp)
  push_archive "$1" "$REGISTRY/$2" --digestfile "$digest"
  printf '%s\n' "$REGISTRY/${2%:*}@$(<"$digest")"
  rm -f "$digest"
}

push_archive() {
  local archive=$1 reference=$2
  shift 2
  skopeo copy --quiet --insecure-policy --dest-tls-verify=false "$@" \
    "oci-archive:$archive" "docker://$reference" >/dev/null || die "pushing $reference failed"
}
