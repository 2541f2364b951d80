# shellcheck shell=bash
# The gateway at 127.0.0.1:9200, Elasticsearch's own port: a `kubectl port-forward` that is started again whenever it ends
# (its pod was replaced). A process of its own, recorded by tests/cluster/lib/process.sh and ended by `demo down`; it also
# ends when its record is gone, as after `cluster down`.

if external; then
  RUN=$LEXISCALE_HOME/demo/run
  LOGS=$LEXISCALE_HOME/demo/logs
fi
source "$HERE/lib/process.sh"

FORWARD=demo-gateway
GATEWAY=http://127.0.0.1:9200

start_forward() {
  stop_forward
  ! gateway_answers || die "something else answers on $GATEWAY; stop it and repeat"
  # shellcheck disable=SC2016 # expanded by the inner shell
  start_process "$FORWARD" bash -c '
    while [[ -e $1 ]]; do
      kubectl --kubeconfig "$2" --namespace "$3" port-forward service/lexiscale-gateway 9200:9200
      sleep 0.2
    done' bash "$RUN/$FORWARD" "$(current_kubeconfig)" "$SYSTEM_NAMESPACE"
  wait_for 30 "the gateway answers on $GATEWAY" "$FORWARD" gateway_answers
  say "   $GATEWAY answers"
}

gateway_answers() { curl -s -o /dev/null --noproxy '*' --max-time 2 "$GATEWAY"; }

# The loop and the kubectl that it runs are one session.
stop_forward() {
  local pid
  pid=$(process_pid "$FORWARD") || return 0
  kill -TERM -- "-$pid" 2>/dev/null || true
  stop_processes 2 "$FORWARD"
}
