# One node of the cluster: containerd with CNI, kubelet, kube-proxy. Everything here lies below
# $NODE_STATE and is named after $NODE; a second node needs other values, not other code.

start_containerd() {
  local containerd=$NODE_STATE/containerd
  mkdir -p "$containerd"/{root,run,opt} "$NODE_STATE/cni/leases"
  render "$HERE/config/containerd.toml" | write_file "$containerd/config.toml"
  render "$HERE/config/cni.conflist" | write_file "$NODE_STATE/cni/config/10-$NODE_NETWORK.conflist"
  start_process containerd "$BIN/containerd" --config "$containerd/config.toml"
}

start_kubelet() {
  RESOLV_CONF=$(host_resolv_conf)
  FAIL_CGROUP_V1=$([[ $(cgroup_version) == 2 ]] && echo true || echo false)
  mkdir -p "$NODE_STATE/kubelet"
  render "$HERE/config/kubelet.yaml" | write_file "$NODE_STATE/kubelet.yaml"
  start_process kubelet "$BIN/node" kubelet --config "$NODE_STATE/kubelet.yaml" \
    --kubeconfig "$PKI/kubelet-$NODE-client.kubeconfig" --root-dir "$NODE_STATE/kubelet" \
    --cert-dir "$NODE_STATE/kubelet/pki" --hostname-override "$NODE" --node-ip "$NODE_IP"
}

start_kube_proxy() {
  render "$HERE/config/kube-proxy.yaml" | write_file "$NODE_STATE/kube-proxy.yaml"
  start_process kube-proxy "$BIN/node" kube-proxy --config "$NODE_STATE/kube-proxy.yaml"
}

# systemd-resolved's stub listens on loopback, which in a pod is the pod itself.
host_resolv_conf() {
  if grep -q '^nameserver 127\.' /etc/resolv.conf 2>/dev/null && [[ -r /run/systemd/resolve/resolv.conf ]]; then
    echo /run/systemd/resolve/resolv.conf
  else
    echo /etc/resolv.conf
  fi
}
