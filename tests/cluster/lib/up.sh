# 'up': from whatever is there (nothing, a dead node, half a node, another recipe) to a ready node.

# A running node is reused only if it was made from the same programs and settings for the same
# address. The scripts that start nothing are left out: a changed message must not cost a restart.
node_recipe() {
  {
    echo "$BUILD_RECIPE $IMAGES_RECIPE $NODE_IP $API_PORT"
    cd "$HERE" && cat config/* manifests/* lib/settings.sh lib/pki.sh lib/control_plane.sh lib/node.sh lib/addons.sh
  } | sha256sum | cut -c1-16
}

recorded_recipe() { cat "$STATE/recipe" 2>/dev/null || true; }

command_up() {
  local start
  start=$(now_ms)
  if external; then
    external_up
    return
  fi
  need_root up
  build
  lock node 900
  find_node_ip
  if [[ -e $STATE && $(recorded_recipe) != "$(node_recipe)" ]]; then
    say "the node there was made from another recipe; replacing it"
    stop_node
  fi
  if [[ -e $STATE ]] && all_parts_healthy && node_ready; then
    publish_kubeconfig
    say "node $NODE is up, reused ($(seconds_since "$start"))"
    return
  fi
  start_node
  publish_kubeconfig
  say "node $NODE is up ($(seconds_since "$start")); kubeconfig: $CLONE_KUBECONFIG"
}

start_node() {
  if [[ ! -e $STATE/recipe ]]; then
    refuse_foreign_kubernetes
    refuse_taken_ports
    # The kubelet's and containers' logs may hold secrets of tests.
    mkdir -p "$STATE"
    chmod 0700 "$STATE"
    node_recipe | write_file "$STATE/recipe"
  fi
  prepare_host
  make_pki

  start_unless_healthy registry containerd etcd kube-apiserver
  wait_for 15 "the registry answers" registry part_healthy registry
  push_node_images
  wait_for 30 "containerd answers" containerd part_healthy containerd
  # The API server itself gives up without etcd, so etcd's log is the one to show.
  wait_for 30 "etcd answers" etcd part_healthy etcd
  wait_for 90 "the API server is ready" kube-apiserver part_healthy kube-apiserver

  start_unless_healthy kube-controller-manager kube-scheduler kubelet kube-proxy
  apply_manifests
  start_unless_healthy coredns local-path-provisioner

  local part
  for part in kube-controller-manager kube-scheduler kubelet kube-proxy coredns; do
    wait_for 60 "$part is healthy" "$part" part_healthy "$part"
  done
  wait_for 60 "node $NODE is ready" kubelet node_ready
  wait_for 30 "the namespace default can be used" kube-controller-manager namespace_usable
  check_pod_cidr
}

# A part that lives but does not answer is given the time that its own start may take.
start_unless_healthy() {
  local part
  for part in "$@"; do
    ! part_healthy "$part" || continue
    if process_alive "$part"; then
      say "$part does not answer; starting it again"
    fi
    stop_processes 5 "$part"
    "start_${part//-/_}"
  done
}

# The CNI configuration is written before the node registers, because waiting for its range would
# cost seconds. The controller manager counts up from the first range; this checks that it did.
check_pod_cidr() {
  local cidr
  cidr=$(admin get node "$NODE" -o 'jsonpath={.spec.podCIDR}')
  [[ $cidr == "$NODE_POD_CIDR" ]] ||
    die "node $NODE was given the pod range '$cidr' instead of $NODE_POD_CIDR; run: cluster down, then up"
}

# cargo makes target/ only at its first build.
publish_kubeconfig() { write_file "$CLONE_KUBECONFIG" 0600 <"$ADMIN_KUBECONFIG"; }
