# shellcheck shell=bash
# The chart and the model hub: put into the cluster and taken out. For the demo and for the cluster tests.

CLUSTER=$HERE/cluster
SYSTEM_NAMESPACE=lexiscale-system
DEMO_NAMESPACE=lexiscale-demo
EXAMPLE=$REPO/crds/examples/minimal.yaml
ENDPOINT=my-elser
# The endpoint of the requests that `show_next_steps` prints.
# shellcheck disable=SC2034 # read in show.sh
PAGE_ENDPOINT=my-elser-model
# Whose endpoints answer at the gateway's `/`, whatever namespace the kubeconfig prefers.
GATEWAY_NAMESPACE=default

kubectl() { "$CLUSTER" kubectl "$@"; }
helm() { "$CLUSTER" helm "$@"; }

# Pods of the operator run under the strictest standard, and this proves it.
install_chart() {
  make_namespaces
  # What an interrupted run left behind refuses every further one.
  [[ -z $(helm list --pending --short --namespace "$SYSTEM_NAMESPACE") ]] ||
    helm uninstall lexiscale --namespace "$SYSTEM_NAMESPACE" --wait >&2
  helm upgrade --install lexiscale "$REPO/charts/lexiscale" --namespace "$SYSTEM_NAMESPACE" --wait --timeout 3m \
    --values "$REPO/tests/demo/values.yaml" --values "$REPO/target/images/values.yaml" --hide-notes >/dev/null || {
    kubectl --namespace "$SYSTEM_NAMESPACE" get pods,events >&2
    die "the chart did not become ready; pods and events are above"
  }
  kubectl --namespace "$SYSTEM_NAMESPACE" get deployments >&2
}

install_hub() {
  sed "s#HUB_IMAGE#$(<"$REPO/target/images/hub")#" "$REPO/tests/demo/hub.yaml" | kubectl apply --filename - >/dev/null
  kubectl --namespace "$DEMO_NAMESPACE" rollout status deployment/hub --timeout 2m >&2
}

# An annotation remembers whether the cluster had the definitions before, and with them perhaps endpoints of somebody.
make_namespaces() {
  local namespace
  if ! kubectl get namespace "$DEMO_NAMESPACE" >/dev/null 2>&1; then
    kubectl create namespace "$DEMO_NAMESPACE" >/dev/null
    kubectl annotate namespace "$DEMO_NAMESPACE" "demo.lexiscale.io/had-crds=$(has_crds && echo yes || echo no)" >/dev/null
  fi
  kubectl get namespace "$SYSTEM_NAMESPACE" >/dev/null 2>&1 || kubectl create namespace "$SYSTEM_NAMESPACE" >/dev/null
  for namespace in "$SYSTEM_NAMESPACE" "$DEMO_NAMESPACE"; do
    kubectl label --overwrite namespace "$namespace" pod-security.kubernetes.io/enforce=restricted >/dev/null
  done
}

has_crds() { kubectl get customresourcedefinition inferenceendpoints.inference.lexiscale.io >/dev/null 2>&1; }

# For a cluster that stays: endpoints first, while the operator can still say what it does with them.
uninstall() {
  if [[ $(kubectl get namespace "$DEMO_NAMESPACE" --ignore-not-found \
    --output 'jsonpath={.metadata.annotations.demo\.lexiscale\.io/had-crds}') == no ]]; then
    kubectl delete --filename "$REPO/crds/yaml" --ignore-not-found --timeout 2m >&2
  elif has_crds; then
    kubectl delete --namespace "$GATEWAY_NAMESPACE" --ignore-not-found --timeout 2m \
      inferenceendpoint "$ENDPOINT" "$PAGE_ENDPOINT" >&2
  fi
  helm uninstall lexiscale --namespace "$SYSTEM_NAMESPACE" --ignore-not-found --wait >&2
  kubectl delete namespace "$SYSTEM_NAMESPACE" "$DEMO_NAMESPACE" --ignore-not-found >&2
}
