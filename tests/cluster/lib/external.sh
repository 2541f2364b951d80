# A cluster of the user's own, named by KUBECONFIG: it is checked and used, never started, changed
# or stopped.

# Ours is every kubeconfig that carries our context's name, wherever it was copied to, and this
# clone's copy even when it is gone.
external() {
  [[ -n ${KUBECONFIG:-} ]] || return 1
  [[ $KUBECONFIG != "$CLONE_KUBECONFIG" && $KUBECONFIG != "$ADMIN_KUBECONFIG" ]] || return 1
  ! grep -qs "^current-context: $CONTEXT\$" "$KUBECONFIG"
}

external_up() {
  local kubectl context
  [[ -x $BIN/kubectl && -x $BIN/helm ]] || { command -v kubectl && command -v helm; } >/dev/null || build
  kubectl=$(tool kubectl)
  context=$("$kubectl" config current-context) || die "KUBECONFIG=$KUBECONFIG names no current context"
  "$kubectl" get --raw /readyz --request-timeout 10s >/dev/null ||
    die "the cluster of context '$context' in KUBECONFIG=$KUBECONFIG does not answer. Unset KUBECONFIG to use the embedded node"
  # Flattened: certificates named by path would not be found from elsewhere.
  "$kubectl" config view --raw --minify --flatten | write_file "$CLONE_KUBECONFIG" 0600
  say "using your cluster: context '$context' of KUBECONFIG=$KUBECONFIG; no node is started"
  say "kubeconfig: $CLONE_KUBECONFIG"
}

external_down() {
  rm -f "$CLONE_KUBECONFIG"
  say "KUBECONFIG=$KUBECONFIG names a cluster of yours; it is left alone"
}

external_status() {
  echo "your cluster: KUBECONFIG=$KUBECONFIG"
  "$(tool kubectl)" get nodes --request-timeout 10s || exit 1
}
