# Messages, bounded waits, locks and templates.

say() { printf '%s\n' "cluster: $*" >&2; }

die() {
  printf '%s\n' "cluster: error: $*" >&2
  exit 1
}

need_root() { ((EUID == 0)) || die "'$1' needs root, as everything that runs pods on this machine does"; }

# Milliseconds since boot: unaffected by a clock that is set meanwhile.
now_ms() {
  local uptime
  read -r uptime _ </proc/uptime
  echo $((10#${uptime/./} * 10))
}

seconds_since() { awk -v ms=$(($(now_ms) - $1)) 'BEGIN { printf "%.1f s", ms / 1000 }'; }

# timed TEXT COMMAND...: one progress line before, one with the duration after.
timed() {
  local text=$1 start
  shift
  start=$(now_ms)
  say "$text ..."
  "$@"
  say "$text: $(seconds_since "$start")"
}

# wait_for SECONDS TEXT PART COMMAND...: polls COMMAND. Gives up at the deadline or as soon as the
# process of PART is gone, and then shows the end of its log. PART '-' belongs to no process.
wait_for() {
  local limit=$1 text=$2 part=$3 deadline
  shift 3
  deadline=$(($(now_ms) + limit * 1000))
  until "$@" >/dev/null 2>&1; do
    if [[ $part != - ]] && ! process_alive "$part"; then
      show_log "$part"
      die "$part ended while waiting until $text; its log is $LOGS/$part.log"
    fi
    if (($(now_ms) > deadline)); then
      [[ $part == - ]] || show_log "$part"
      die "gave up after $limit s waiting until $text"
    fi
    sleep 0.1
  done
}

show_log() {
  [[ -r $LOGS/$1.log ]] || return 0
  printf '%s\n' "--- the last lines of $LOGS/$1.log" >&2
  tail -n 25 "$LOGS/$1.log" >&2
  printf '%s\n' "---" >&2
}

# lock NAME SECONDS: held until this process ends. start_process closes the descriptor in the
# daemons, which would hold the lock for ever otherwise.
LOCK_FDS=()
lock() {
  local file=$NODE_HOME/$1.lock fd
  mkdir -p "$NODE_HOME"
  exec {fd}>>"$file"
  LOCK_FDS+=("$fd")
  flock --nonblock "$fd" && return
  say "another process holds $file; waiting up to $2 s"
  flock --timeout "$2" "$fd" || die "$file is still held after $2 s (see: fuser -v $file)"
}

# render FILE: the file with every @NAME@ replaced by the shell variable NAME; an unset one is an error.
render() {
  local text
  text=$(<"$1")
  while [[ $text =~ @([A-Z0-9_]+)@ ]]; do
    text=${text//"${BASH_REMATCH[0]}"/${!BASH_REMATCH[1]}}
  done
  printf '%s\n' "$text"
}

# Never leaves half a file where a later run would take it for a whole one.
write_file() {
  local path=$1 mode=${2:-0644}
  mkdir -p "$(dirname "$path")"
  (umask 077 && cat >"$path.new")
  chmod "$mode" "$path.new"
  mv "$path.new" "$path"
}
