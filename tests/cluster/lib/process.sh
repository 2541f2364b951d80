# Detached processes that later commands can find again and end without hitting a stranger.
# A record holds pid, start time and boot id: a recycled pid fails the comparison.

BOOT_ID=$(</proc/sys/kernel/random/boot_id)

# Field 22 of stat; the second, the program's name, may hold spaces. Read by 'read': when the process
# ends between open and read, $(<file) ends this whole shell.
process_start_time() {
  local stat
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
  read -ra stat <<<"${stat##*) }"
  [[ ${stat[0]} != Z ]] && echo "${stat[19]}"
}

same_process() { [[ $(process_start_time "$1") == "$2" ]]; }

# The pid of a part whose recorded process still lives.
process_pid() {
  local pid start boot
  { read -r pid start boot <"$RUN/$1"; } 2>/dev/null || return 1
  [[ $boot == "$BOOT_ID" ]] && same_process "$pid" "$start" && echo "$pid"
}

process_alive() { process_pid "$1" >/dev/null; }

# start_process PART COMMAND...: its log starts afresh, the one before it is kept as .log.1.
start_process() {
  local part=$1 pid fd
  shift
  mkdir -p "$RUN" "$LOGS"
  [[ ! -e $LOGS/$part.log ]] || mv "$LOGS/$part.log" "$LOGS/$part.log.1"
  (
    cd /
    for fd in "${LOCK_FDS[@]}"; do exec {fd}>&-; done
    # The caller's session may have a low limit; the runtime hands it down to containers.
    ulimit -n "$(ulimit -Hn)"
    exec setsid env -u KUBECONFIG -u NOTIFY_SOCKET PATH="$BIN:$PATH" "$@"
  ) </dev/null >"$LOGS/$part.log" 2>&1 &
  pid=$!
  echo "$pid $(process_start_time "$pid") $BOOT_ID" >"$RUN/$part"
}

# stop_processes SECONDS PART...: asks all, waits for all, then insists.
stop_processes() {
  local limit=$1 part pid deadline
  local -A pids=()
  shift
  for part in "$@"; do
    if pid=$(process_pid "$part"); then
      pids[$part]=$pid
      kill -TERM "$pid" 2>/dev/null || true
    fi
  done
  deadline=$(($(now_ms) + limit * 1000))
  for part in "${!pids[@]}"; do
    while process_alive "$part" && (($(now_ms) < deadline)); do sleep 0.05; done
    ! process_alive "$part" || kill -KILL "${pids[$part]}" 2>/dev/null || true
    while process_alive "$part"; do sleep 0.05; done
  done
  for part in "$@"; do rm -f "$RUN/$part"; done
}

# kill_pids PID...: at once, and waits until they are gone. For processes found by what they are
# (a cgroup, an executable), in the same moment.
kill_pids() {
  local pid deadline
  (($# > 0)) || return 0
  kill -KILL "$@" 2>/dev/null || true
  deadline=$(($(now_ms) + 5000))
  for pid in "$@"; do
    while process_start_time "$pid" >/dev/null && (($(now_ms) < deadline)); do sleep 0.02; done
  done
}
