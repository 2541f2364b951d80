# shellcheck shell=bash
# What the scripts of this repository share: settings, messages, waits, and whose cluster it is. They are those of
# tests/cluster, so that both always agree.

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")/../cluster" && pwd)
source "$HERE/lib/settings.sh"
source "$HERE/lib/common.sh"
source "$HERE/lib/build.sh"
source "$HERE/lib/external.sh"
source "$HERE/lib/status.sh"

# Without the prefix that tests/cluster puts before its own lines.
say() { printf '%s\n' "$@" >&2; }

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}
