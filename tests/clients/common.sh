# shellcheck shell=bash
# Where the official clients are.

CLIENTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$CLIENTS/../tools/common.sh"

# client_home NAME: a directory that belongs to exactly these pins.
client_home() {
  local pins
  case $1 in
    python-*) pins=("$CLIENTS/python/requirements-${1#python-}.txt") ;;
    javascript) pins=("$CLIENTS/javascript/package-lock.json") ;;
    java) pins=("$CLIENTS/java/pom.xml" "$CLIENTS/java/checksums.sha256") ;;
    *) die "there is no client $1; known: python-8, python-9, javascript, java" ;;
  esac
  printf '%s\n' "$LEXISCALE_HOME/tools/client-$1-$(cat "${pins[@]}" | sha256sum | cut -c1-12)"
}

# node_js: the program. The tests' own node comes by the same name.
node_js() {
  local file
  for file in $(type -ap nodejs node); do
    [[ $("$file" --version 2>/dev/null) != v* ]] || { echo "$file"; return; }
  done
  die "there is no Node.js: tests/clients/install"
}
