# 'status', and the commands that use a running cluster.

# Exit code: 0 healthy, 1 degraded, 3 not running (as init scripts have it).
command_status() {
  local part pid memory health healthy=0
  if external; then
    external_status
    return
  fi
  [[ ! -e $STATE ]] || need_root status
  if [[ ! -e $STATE/recipe ]]; then
    echo "not running; programs: $([[ -e $BIN/versions ]] && echo "built in $BIN" || echo 'not built')"
    exit 3
  fi
  printf '%-26s %8s %9s  %s\n' PART PID MEMORY HEALTH
  for part in "${PARTS[@]}"; do
    pid=$(process_pid "$part") || pid=-
    memory=-
    [[ $pid == - ]] || memory=$(awk '/^VmRSS/ { printf "%d MiB", $2 / 1024 }' "/proc/$pid/status")
    health="not healthy, log: $LOGS/$part.log"
    if part_healthy "$part"; then
      health=healthy
      healthy=$((healthy + 1))
    fi
    printf '%-26s %8s %9s  %s\n' "$part" "$pid" "$memory" "$health"
  done
  printf '\nkubeconfig  %s\nstate       %s\nrecipe      %s\n' "$ADMIN_KUBECONFIG" "$STATE" "$(recorded_recipe)"
  find_node_ip
  [[ $(recorded_recipe) == "$(node_recipe)" ]] || echo "            not this clone's; 'up' would replace the node"
  printf 'versions\n%s\n' "$(sed 's/^/  /' "$BIN/versions" 2>/dev/null || echo '  this clone is not built')"
  ((healthy < ${#PARTS[@]})) || return 0
  ((healthy > 0)) || exit 3
  exit 1
}

# The cluster's kubeconfig: the running node's, or the copy that 'up' made of the user's.
current_kubeconfig() {
  local file=$ADMIN_KUBECONFIG
  ! external || file=$CLONE_KUBECONFIG
  [[ -r $file ]] || die "no cluster: run '$HERE/cluster up' first"
  echo "$file"
}

# tool NAME: the built program, else one that the user has.
tool() {
  if [[ -x $BIN/$1 ]]; then
    echo "$BIN/$1"
  else
    command -v "$1" || die "no $1: run '$HERE/cluster build' first"
  fi
}

command_tool() {
  local program file
  program=$(tool "$1")
  file=$(current_kubeconfig)
  shift
  KUBECONFIG=$file exec "$program" "$@"
}

command_env() {
  local file
  file=$(current_kubeconfig)
  printf 'export KUBECONFIG=%q\nexport PATH=%q:$PATH\n' "$file" "$BIN"
}
