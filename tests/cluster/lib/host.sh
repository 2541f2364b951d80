# What the node changes on its host outside its own directory: kernel settings, the firewall's
# policy for forwarded packets, one cgroup per controller. Each remembers what was there before.
# host_cleanup.sh takes it all back.

HOST=$STATE/host

# Set here, or by kubelet and kube-proxy at their start.
SYSCTLS=(
  kernel.keys.root_maxbytes kernel.keys.root_maxkeys kernel.panic kernel.panic_on_oops
  net.bridge.bridge-nf-call-ip6tables net.bridge.bridge-nf-call-iptables
  net.ipv4.conf.all.route_localnet net.ipv4.ip_forward
  net.netfilter.nf_conntrack_max net.netfilter.nf_conntrack_tcp_timeout_close_wait
  net.netfilter.nf_conntrack_tcp_timeout_established
  vm.overcommit_memory vm.panic_on_oom
)

prepare_host() {
  modprobe -qa overlay br_netfilter nf_conntrack 2>/dev/null || true # often built in
  remember_host
  sysctl -qw net.ipv4.ip_forward=1
  # Without it packets between two pods of one bridge would not meet the Service rules.
  sysctl -qw net.bridge.bridge-nf-call-iptables=1 2>/dev/null ||
    die "the kernel has no bridge netfilter (module br_netfilter): Services cannot work"
  make_cgroups
  accept_pod_traffic
}

# Once per state directory: a second 'up' after a crash must not take our settings for the host's.
remember_host() {
  local key
  [[ ! -e $HOST/remembered ]] || return 0
  mkdir -p "$HOST"
  for key in "${SYSCTLS[@]}"; do
    printf '%s=%s\n' "$key" "$(sysctl -n "$key" 2>/dev/null)"
  done | grep -v '=$' >"$HOST/sysctl"
  firewall_tables >"$HOST/tables"
  firewall_chains >"$HOST/chains"
  touch "$HOST/remembered"
}

firewall_tables() { nft list tables 2>/dev/null | awk '{ print $2, $3 }' | sort; }

# One line per chain: family, table, name.
firewall_chains() {
  nft list chains 2>/dev/null | awk '$1 == "table" { table = $2 " " $3 } $1 == "chain" { print table, $2 }' | sort
}

# Two kube-proxies on one host undo each other's rules.
refuse_foreign_kubernetes() {
  if iptables -t nat -S KUBE-SERVICES >/dev/null 2>&1; then
    die "this host already routes Services of another Kubernetes (chain KUBE-SERVICES). Set KUBECONFIG to use that cluster, or stop it"
  fi
}

refuse_taken_ports() {
  local port owner
  for port in "${TAKEN_PORTS[@]}"; do
    owner=$(ss -ltnpH "sport = :$port" | head -n 1)
    [[ -z $owner ]] || die "port $port is taken: $owner. Stop that program$(
      [[ $port == "$API_PORT" ]] && echo ', or choose another port with LEXISCALE_APISERVER_PORT')"
  done
}

# The address by which pods reach kubelet, API server and DNS: loopback would be the pod itself.
find_node_ip() {
  local device
  device=$(ip -4 route show default | awk '{ for (i = 1; i < NF; i++) if ($i == "dev") { print $(i + 1); exit } }')
  NODE_IP=$(ip -4 -o address show ${device:+dev "$device"} scope global | awk '{ sub("/.*", "", $4); print $4; exit }')
  [[ -n $NODE_IP ]] || die "this machine has no IPv4 address besides loopback"
}

cgroup_version() { [[ $(stat -fc %T /sys/fs/cgroup) == cgroup2fs ]] && echo 2 || echo 1; }

# The kubelet wants its cgroup root to exist. An own root per node keeps two kubelets from
# removing each other's pods, and lets 'down' find every container process.
make_cgroups() {
  local controller
  if [[ $(cgroup_version) == 2 ]]; then
    mkdir -p "/sys/fs/cgroup/$NODE_CGROUP"
    for controller in $(</sys/fs/cgroup/cgroup.controllers); do
      echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true
      echo "+$controller" >"/sys/fs/cgroup/$NODE_CGROUP/cgroup.subtree_control" 2>/dev/null || true
    done
    return
  fi
  while read -r controller; do
    mkdir -p "$controller/$NODE_CGROUP"
    # Version 1 leaves a new cpuset empty, and an empty one accepts no process.
    if [[ -e $controller/$NODE_CGROUP/cpuset.cpus && -z $(<"$controller/$NODE_CGROUP/cpuset.cpus") ]]; then
      cat "$controller/cpuset.cpus" >"$controller/$NODE_CGROUP/cpuset.cpus"
      cat "$controller/cpuset.mems" >"$controller/$NODE_CGROUP/cpuset.mems"
    fi
  done < <(awk '$3 == "cgroup" { print $2 }' /proc/mounts)
}

# Docker and many firewalls drop forwarded packets that no rule accepts. The chain's name begins
# with KUBE-, so it goes with kube-proxy's.
accept_pod_traffic() {
  [[ $(iptables -S FORWARD 2>/dev/null) == "-P FORWARD DROP"* ]] || return 0
  iptables -N KUBE-LEXISCALE 2>/dev/null || return 0
  iptables -A KUBE-LEXISCALE -s "$CLUSTER_CIDR" -j ACCEPT
  iptables -A KUBE-LEXISCALE -d "$CLUSTER_CIDR" -j ACCEPT
  iptables -I FORWARD -j KUBE-LEXISCALE
}
