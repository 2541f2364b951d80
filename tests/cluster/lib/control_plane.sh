# How the programs of the control plane are started: etcd, API server, controller manager,
# scheduler. All listen with TLS; only the API server listens beyond loopback, for pods.

# Test data: losing the last second in a power cut is fine, waiting for the disk is not.
start_etcd() {
  mkdir -p "$CONTROL"
  start_process etcd "$BIN/node" etcd --name "$NODE" --data-dir "$CONTROL/etcd" --unsafe-no-fsync \
    --listen-client-urls "https://127.0.0.1:$ETCD_PORT" --advertise-client-urls "https://127.0.0.1:$ETCD_PORT" \
    --listen-peer-urls "https://127.0.0.1:$ETCD_PEER_PORT" \
    --initial-advertise-peer-urls "https://127.0.0.1:$ETCD_PEER_PORT" \
    --initial-cluster "$NODE=https://127.0.0.1:$ETCD_PEER_PORT" \
    --cert-file "$PKI/etcd.crt" --key-file "$PKI/etcd.key" --client-cert-auth --trusted-ca-file "$CA" \
    --peer-cert-file "$PKI/etcd.crt" --peer-key-file "$PKI/etcd.key" --peer-client-cert-auth --peer-trusted-ca-file "$CA" \
    --log-level warn
}

# The audit log (each request: who, what, which object) lets tests count writes. 2 x 50 MB at most.
start_kube_apiserver() {
  cp "$HERE/config/audit-policy.yaml" "$CONTROL/audit-policy.yaml"
  start_process kube-apiserver "$BIN/node" kube-apiserver \
    --bind-address 0.0.0.0 --secure-port "$API_PORT" --advertise-address "$NODE_IP" \
    --tls-cert-file "$PKI/kube-apiserver.crt" --tls-private-key-file "$PKI/kube-apiserver.key" \
    --client-ca-file "$CA" --authorization-mode Node,RBAC --anonymous-auth=true \
    --enable-admission-plugins NodeRestriction,PodSecurity --allow-privileged \
    --etcd-servers "https://127.0.0.1:$ETCD_PORT" --etcd-cafile "$CA" \
    --etcd-certfile "$PKI/etcd-client.crt" --etcd-keyfile "$PKI/etcd-client.key" \
    --kubelet-client-certificate "$PKI/apiserver-kubelet.crt" --kubelet-client-key "$PKI/apiserver-kubelet.key" \
    --kubelet-certificate-authority "$CA" --kubelet-preferred-address-types InternalIP \
    --service-cluster-ip-range "$SERVICE_CIDR" \
    --service-account-issuer https://kubernetes.default.svc.cluster.local \
    --service-account-key-file "$PKI/sa.pub" --service-account-signing-key-file "$PKI/sa.key" \
    --audit-policy-file "$CONTROL/audit-policy.yaml" --audit-log-path "$AUDIT_LOG" \
    --audit-log-maxsize 50 --audit-log-maxbackup 1
}

# The client limits let a thousand objects become ready in seconds instead of minutes.
start_kube_controller_manager() {
  start_process kube-controller-manager "$BIN/node" kube-controller-manager \
    --kubeconfig "$PKI/kube-controller-manager.kubeconfig" --use-service-account-credentials \
    --authentication-kubeconfig "$PKI/kube-controller-manager.kubeconfig" \
    --authorization-kubeconfig "$PKI/kube-controller-manager.kubeconfig" \
    --bind-address 127.0.0.1 --secure-port "$CONTROLLER_MANAGER_PORT" --leader-elect=false \
    --tls-cert-file "$PKI/kube-apiserver.crt" --tls-private-key-file "$PKI/kube-apiserver.key" \
    --root-ca-file "$CA" --service-account-private-key-file "$PKI/sa.key" \
    --cluster-signing-cert-file "$CA" --cluster-signing-key-file "$PKI/ca.key" \
    --allocate-node-cidrs --cluster-cidr "$CLUSTER_CIDR" --service-cluster-ip-range "$SERVICE_CIDR" \
    --kube-api-qps 500 --kube-api-burst 1000
}

start_kube_scheduler() {
  start_process kube-scheduler "$BIN/node" kube-scheduler --kubeconfig "$PKI/kube-scheduler.kubeconfig" \
    --authentication-kubeconfig "$PKI/kube-scheduler.kubeconfig" \
    --authorization-kubeconfig "$PKI/kube-scheduler.kubeconfig" \
    --bind-address 127.0.0.1 --secure-port "$SCHEDULER_PORT" --leader-elect=false \
    --tls-cert-file "$PKI/kube-apiserver.crt" --tls-private-key-file "$PKI/kube-apiserver.key" \
    --kube-api-qps 500 --kube-api-burst 1000
}
