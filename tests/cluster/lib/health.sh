# Whether each part not only lives but answers.

part_healthy() {
  process_alive "$1" || return 1
  case "$1" in
    registry) answers "http://$REGISTRY/v2/" ;;
    containerd) "$BIN/ctr" --address "$CONTAINERD_SOCKET" --connect-timeout 2s version >/dev/null 2>&1 ;;
    etcd) answers "https://127.0.0.1:$ETCD_PORT/health" --cacert "$CA" --cert "$PKI/etcd-client.crt" --key "$PKI/etcd-client.key" ;;
    kube-apiserver) answers "https://127.0.0.1:$API_PORT/readyz" --cacert "$CA" ;;
    # These two present the API server's certificate, whose names include loopback.
    kube-controller-manager) answers "https://127.0.0.1:$CONTROLLER_MANAGER_PORT/healthz" --cacert "$CA" ;;
    kube-scheduler) answers "https://127.0.0.1:$SCHEDULER_PORT/healthz" --cacert "$CA" ;;
    kubelet) answers "http://127.0.0.1:$KUBELET_HEALTH_PORT/healthz" ;;
    kube-proxy) answers "http://127.0.0.1:$PROXY_HEALTH_PORT/healthz" ;;
    coredns) answers "http://127.0.0.1:$DNS_READY_PORT/ready" ;;
    local-path-provisioner) ;; # has no port; being alive is all it shows
  esac
}

# No proxy of the caller's environment may come between us and loopback.
answers() {
  local url=$1
  shift
  curl -sf -o /dev/null --noproxy '*' --max-time 2 "$@" "$url"
}

all_parts_healthy() {
  local part
  for part in "${PARTS[@]}"; do part_healthy "$part" || return 1; done
}

node_ready() {
  [[ $(admin get node "$NODE" --request-timeout 5s \
    -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null) == True ]]
}

# Pods can be created in a namespace only when its default account is there.
namespace_usable() { admin get serviceaccount default -n default --request-timeout 5s >/dev/null; }
