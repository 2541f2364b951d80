# shellcheck shell=bash
# What the demo shows: the endpoint on its way, a sentence as weighted tokens, and what to try next.

SENTENCE="How do I keep my houseplants alive during a long vacation?"

make_endpoint() {
  local waiting
  sed 's/^/   | /' "$EXAMPLE" >&2
  kubectl apply --namespace "$GATEWAY_NAMESPACE" --filename "$EXAMPLE" >&2
  kubectl wait --namespace "$GATEWAY_NAMESPACE" --for=condition=Ready "inferenceendpoint/$ENDPOINT" --timeout 10m >/dev/null &
  waiting=$!
  follow_download "$waiting"
  wait "$waiting" || {
    kubectl describe --namespace "$GATEWAY_NAMESPACE" inferenceendpoint "$ENDPOINT" >&2
    kubectl get --namespace "$GATEWAY_NAMESPACE" modelcaches,pods,events >&2
    die "the endpoint did not become ready; what the cluster says is above"
  }
  kubectl get --namespace "$GATEWAY_NAMESPACE" inferenceendpoints,modelcaches >&2
}

# Each change of the ModelCache's progress as a line, while process $1 waits.
follow_download() {
  local line before=
  while kill -0 "$1" 2>/dev/null; do
    line=$(kubectl get --namespace "$GATEWAY_NAMESPACE" modelcaches --no-headers \
      --output 'custom-columns=NAME:.metadata.name,PHASE:.status.phase,PROGRESS:.status.progress.text' 2>/dev/null) || line=
    if [[ -n $line && $line != "$before" ]]; then
      say "   ${line//$'\n'/$'\n'   }"
      before=$line
    fi
    sleep 0.3
  done
}

# The strongest tokens as bars.
show_sentence() {
  local answer
  answer=$(curl -sS --noproxy '*' --fail-with-body --max-time 30 -H 'Content-Type: application/json' \
    -d "{\"input\": \"$1\"}" "$GATEWAY/_inference/sparse_embedding/$ENDPOINT") || die "the gateway answered: $answer"
  printf '\n== "%s"\n\n' "$1"
  python3 -c '
import json, sys
embedding = json.load(sys.stdin)["sparse_embedding"][0]["embedding"]
strongest = sorted(embedding.items(), key=lambda item: -item[1])[:12]
width = max(len(token) for token, _ in strongest)
for token, weight in strongest:
    print(f"   {token:>{width}}  {weight:5.2f}  " + "█" * round(weight / strongest[0][1] * 40))
print(f"\n   the {len(strongest)} strongest of {len(embedding)} tokens")
' <<<"$answer"
}

show_next_steps() {
  cat <<NEXT

== Ready in $1 s. What to try next

   export KUBECONFIG=$(kubeconfig_hint) PATH=$(dirname "$(tool kubectl)"):\$PATH
   kubectl get ie,mc,pods --namespace $GATEWAY_NAMESPACE
   kubectl explain ie.spec.serviceSettings

   # The requests of the ELSER page, as they stand there:
   curl -X PUT $GATEWAY/_inference/sparse_embedding/$PAGE_ENDPOINT -H 'Content-Type: application/json' -d '
   {
     "service": "elser",
     "service_settings": {
       "adaptive_allocations": {"enabled": true, "min_number_of_allocations": 3, "max_number_of_allocations": 10},
       "num_threads": 1
     }
   }'
   curl -X POST $GATEWAY/_inference/sparse_embedding/$PAGE_ENDPOINT -H 'Content-Type: application/json' -d '{"input": "any text"}'
   curl $GATEWAY/_inference/_all
   curl -X DELETE $GATEWAY/_inference/sparse_embedding/$PAGE_ENDPOINT

   kubectl scale ie/$ENDPOINT --replicas 2 --namespace $GATEWAY_NAMESPACE
   kubectl delete ie/$ENDPOINT --namespace $GATEWAY_NAMESPACE
   make demo-down
NEXT
}

kubeconfig_hint() { [[ $PWD == "$REPO" ]] && echo "\$PWD/target/cluster/kubeconfig" || echo "$CLONE_KUBECONFIG"; }
