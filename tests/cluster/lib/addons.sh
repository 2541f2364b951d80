# What makes a control plane and a node useful: registry, DNS, storage. They run as host processes,
# because pods would need images before there is a registry.

start_registry() {
  mkdir -p "$ADDONS/registry"
  render "$HERE/config/registry.yaml" | write_file "$ADDONS/registry.yaml"
  # By default it sends traces to a collector on this machine and logs each failure to do so.
  start_process registry env OTEL_TRACES_EXPORTER=none "$BIN/registry" serve "$ADDONS/registry.yaml"
}

# Pods start from these two; the registry answers before the kubelet starts.
push_node_images() {
  local name
  for name in pause busybox; do
    registry_has "lexiscale/$name" 1 || push_archive "$IMAGES/$name.tar" "$REGISTRY/lexiscale/$name:1"
  done
}

registry_has() {
  curl -sf -o /dev/null --max-time 5 -H 'Accept: application/vnd.oci.image.manifest.v1+json' \
    "http://$REGISTRY/v2/$1/manifests/$2"
}

# Names outside the cluster go to the host's resolver, if it has one.
start_coredns() {
  DNS_FORWARD=''
  ! grep -q '^nameserver' /etc/resolv.conf 2>/dev/null || DNS_FORWARD='forward . /etc/resolv.conf'
  render "$HERE/config/Corefile" | write_file "$ADDONS/Corefile"
  start_process coredns "$BIN/node" coredns -conf "$ADDONS/Corefile"
}

# Exits when its ConfigMap is missing, so the manifests come first.
start_local_path_provisioner() {
  start_process local-path-provisioner "$BIN/local-path-provisioner" start \
    --kubeconfig "$PKI/local-path-provisioner.kubeconfig" --namespace local-path-storage \
    --helper-image "$BUSYBOX_IMAGE"
}

apply_manifests() {
  local file
  for file in "$HERE"/manifests/*.yaml; do
    render "$file"
    echo ---
  done | admin apply --server-side --force-conflicts -f - >/dev/null
}

admin() { "$BIN/kubectl" --kubeconfig "$ADMIN_KUBECONFIG" "$@"; }
