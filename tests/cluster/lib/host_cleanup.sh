# Takes back everything that host.sh, the runtime and kube-proxy left on the host. Runs when the
# node's processes are gone. Every step also works when there is nothing to do, and a failing one
# does not keep the others from their work.

clean_host() {
  local step failed=0
  for step in remove_links remove_mounts remove_firewall_rules remove_empty_chains remove_cgroups \
    remove_files_outside restore_sysctls; do
    "$step" || { say "warning: $step failed"; failed=1; }
  done
  return "$failed"
}

# Processes of containers, found by our cgroup, whatever started or renamed them.
container_pids() {
  find /sys/fs/cgroup -path "*/$NODE_CGROUP/*" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -nu
}

# Shims outlive containerd. Ours are those whose program lies in our directory.
shim_pids() {
  local exe
  for exe in /proc/[0-9]*/exe; do
    if [[ $(readlink "$exe") == "$NODE_HOME"/bin/*/containerd-shim-runc-v2* ]]; then
      exe=${exe#/proc/}
      echo "${exe%/exe}"
    fi
  done
}

remove_links() {
  local link
  for link in $(ip -o link show master "$NODE_BRIDGE" 2>/dev/null | awk -F': ' '{ sub("@.*", "", $2); print $2 }'); do
    ip link delete "$link" 2>/dev/null || true
  done
  ip link delete "$NODE_BRIDGE" 2>/dev/null || true
}

# Pod volumes, root file systems and network namespaces all live below the state directory.
remove_mounts() {
  local mount
  awk -v state="$STATE/" 'index($5, state) == 1 { print $5 }' /proc/self/mountinfo | sort -r |
    while read -r mount; do
      mount=$(printf '%b' "$mount") # the kernel writes a space as \040
      umount "$mount" 2>/dev/null || umount --lazy "$mount" 2>/dev/null || true
    done
}

# In one transaction per table drops the chains of kube-proxy, kubelet and the CNI plugins and the
# jumps into them. Other rules are neither touched nor loaded again.
remove_firewall_rules() {
  local tool failed=0
  for tool in iptables ip6tables; do
    "$tool-save" 2>/dev/null | awk '
      /^\*/                      { print; chains = ""; next }
      /^:(KUBE|CNI)-/            { name = substr($1, 2); print ":" name " - [0:0]"; chains = chains "-X " name "\n"; next }
      /^-A (KUBE|CNI)-/          { next }
      /^-A .* -[jg] (KUBE|CNI)-/ { sub("^-A", "-D"); print; next }
      /^COMMIT/                  { printf "%s", chains; print }
    ' | "$tool-restore" --noflush || failed=1
  done
  return "$failed"
}

# iptables over nftables makes tables and their built-in chains at first use. Those that were not
# there before and hold nothing go.
remove_empty_chains() {
  local shared='^(ip|ip6) (filter|nat|mangle|raw)( |$)' family table chain
  [[ -e $HOST/chains && -e $HOST/tables ]] || return 0
  while read -r family table chain; do
    ! is_empty chain "$family" "$table" "$chain" || nft delete chain "$family" "$table" "$chain"
  done < <(firewall_chains | comm -23 - "$HOST/chains" | grep -E "$shared")
  while read -r family table; do
    ! is_empty table "$family" "$table" || nft delete table "$family" "$table"
  done < <(firewall_tables | comm -23 - "$HOST/tables" | grep -E "$shared")
}

# Whether the listing has nothing but frames: a chain's own line counts for a table, and for a
# chain only its hook with the policy that lets everything pass.
is_empty() {
  local kind=$1 frame='^(table .*|\s*\}|\s*)$' listing
  [[ $kind == table ]] || frame='^(table .*|\s*chain .*|\s*type .* hook .* policy accept;|\s*\}|\s*)$'
  listing=$(nft list "$@" 2>/dev/null) || return 1
  [[ -z $(grep -vE "$frame" <<<"$listing") ]]
}

# A cgroup stays busy for a moment after its last process.
remove_cgroups() {
  local attempt
  for attempt in {1..20}; do
    find /sys/fs/cgroup -depth -type d \( -name "$NODE_CGROUP" -o -path "*/$NODE_CGROUP/*" \) \
      -exec rmdir {} + 2>/dev/null && return 0
    sleep 0.1
  done
  return 1
}

# Directories that programs name by themselves. Only our files and then empty directories: a
# container engine of the host's owner may use them as well.
remove_files_outside() {
  find /var/log/containers -type l -lname "$NODE_STATE/*" -delete 2>/dev/null || true
  rm -f /var/lib/cni/results/"$NODE_NETWORK"-*
  rm -f /var/lib/kubelet/device-plugins/kubelet.sock
  # A killed shim leaves its socket where the shims of all containerds listen. Without a listener
  # it is of no use to anybody.
  local socket directory listening
  listening=$(ss -xlH | awk '{ print $5 }')
  for socket in /run/containerd/s/*; do
    [[ ! -S $socket || $listening == *"$socket"* ]] || rm -f "$socket"
  done
  for directory in /var/log/containers /var/log/pods /var/lib/cni /var/lib/kubelet /var/lib/containerd /run/containerd /opt/containerd; do
    [[ ! -d $directory ]] || find "$directory" -depth -type d -empty -delete 2>/dev/null || true
  done
}

restore_sysctls() {
  local line
  [[ -e $HOST/sysctl ]] || return 0
  while read -r line; do
    sysctl -qw "$line" 2>/dev/null || true
  done <"$HOST/sysctl"
}
