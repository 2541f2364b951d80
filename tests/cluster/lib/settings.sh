# Every path, port, address and name of the embedded node. Only settings, no effects.
# What belongs to one node carries its name, so that a second node can stand beside it.

REPO=$(cd "$HERE/../.." && pwd)
CLONE_KUBECONFIG=$REPO/target/cluster/kubeconfig

# Outside any source tree: clones on one machine share programs and a running node.
LEXISCALE_HOME=${LEXISCALE_HOME:-/var/lib/lexiscale}
NODE_HOME=$LEXISCALE_HOME/node
STATE=$NODE_HOME/state
CONTROL=$STATE/control        # etcd, API server, controllers: once per cluster
ADDONS=$STATE/addons          # DNS, registry, storage: once per cluster
PKI=$STATE/pki
RUN=$STATE/run                # one file per running part: its process's identity
LOGS=$STATE/logs
ADMIN_KUBECONFIG=$STATE/admin.kubeconfig
AUDIT_LOG=$LOGS/audit.log

# Marks kubeconfigs as ours, also a stale copy of one that another clone's shell still exports.
CONTEXT=lexiscale-embedded

NODE=node1
NODE_STATE=$STATE/$NODE
NODE_CGROUP=lexiscale-$NODE
NODE_BRIDGE=lexiscale-$NODE
NODE_NETWORK=lexiscale-$NODE
CONTAINERD_SOCKET=$NODE_STATE/containerd/run/containerd.sock
CNI_PLUGINS=/usr/lib/cni

CLUSTER_CIDR=10.244.0.0/16
NODE_POD_CIDR=10.244.0.0/24   # what the controller manager gives the first node of CLUSTER_CIDR
SERVICE_CIDR=10.96.0.0/16
API_SERVICE_IP=10.96.0.1
DNS_SERVICE_IP=10.96.0.10

API_PORT=${LEXISCALE_APISERVER_PORT:-6443}
ETCD_PORT=2379
ETCD_PEER_PORT=2380
CONTROLLER_MANAGER_PORT=10257
SCHEDULER_PORT=10259
KUBELET_PORT=10250
KUBELET_HEALTH_PORT=10248
PROXY_HEALTH_PORT=10256
PROXY_METRICS_PORT=10249
DNS_PORT=1053
DNS_HEALTH_PORT=10054
DNS_READY_PORT=10055
REGISTRY_PORT=5000            # part of image names, so it cannot vary
REGISTRY=127.0.0.1:$REGISTRY_PORT
TAKEN_PORTS=("$API_PORT" "$ETCD_PORT" "$ETCD_PEER_PORT" "$CONTROLLER_MANAGER_PORT" "$SCHEDULER_PORT"
  "$KUBELET_PORT" "$KUBELET_HEALTH_PORT" "$PROXY_HEALTH_PORT" "$PROXY_METRICS_PORT" "$DNS_PORT"
  "$DNS_HEALTH_PORT" "$DNS_READY_PORT" "$REGISTRY_PORT")

PAUSE_IMAGE=$REGISTRY/lexiscale/pause:1
BUSYBOX_IMAGE=$REGISTRY/lexiscale/busybox:1
BASE_IMAGE=localhost/lexiscale/cc-base:1

# In start order.
PARTS=(registry containerd etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy
  coredns local-path-provisioner)
