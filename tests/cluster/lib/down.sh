# 'down': ends everything and takes the state away. Works from recorded identities only, so that it
# also removes a node which an older or newer clone started.

command_down() {
  local start all=no
  start=$(now_ms)
  case "${1:-}" in
    '') ;;
    --all) all=yes ;;
    *) die "usage: cluster down [--all]" ;;
  esac
  if external; then
    external_down
    return
  fi
  need_root down
  lock node 900
  if [[ -e $STATE ]]; then
    stop_node
    say "node $NODE is down, nothing is left ($(seconds_since "$start"))"
  else
    say "no node is there"
  fi
  rm -f "$CLONE_KUBECONFIG"
  [[ $all == no ]] || remove_programs
}

# The order matters: nothing may restart what the next step ends, and the API server hangs
# without etcd.
stop_node() {
  local pids failed=0
  stop_processes 5 kubelet kube-proxy coredns local-path-provisioner kube-scheduler kube-controller-manager
  mapfile -t pids < <(container_pids)
  kill_pids "${pids[@]}"
  stop_processes 10 kube-apiserver
  stop_processes 5 etcd registry
  stop_processes 10 containerd
  mapfile -t pids < <(shim_pids)
  kill_pids "${pids[@]}"
  clean_host || failed=1
  # Not across a mount that could not be removed: it may hold somebody's files.
  rm -rf --one-file-system "$STATE" || failed=1
  ((failed == 0)) || die "the node's processes are gone, but something is left: see the warnings above"
}

remove_programs() {
  local image
  rm -rf "$NODE_HOME"
  rmdir "$LEXISCALE_HOME" 2>/dev/null || true
  image=$(buildah --storage-driver overlay images --quiet "$BASE_IMAGE" 2>/dev/null) || true
  [[ -z $image ]] || buildah --storage-driver overlay rmi "$BASE_IMAGE" >/dev/null
  say "programs and images removed"
}
