# The cluster's certificates and kubeconfigs: one CA, one client identity per part, so that RBAC
# holds for the node's own programs as it would elsewhere. Existing files are kept.

CA=$PKI/ca.crt

make_pki() {
  local ip=IP:127.0.0.1,IP:$NODE_IP
  mkdir -p "$PKI"
  chmod 0700 "$PKI"
  [[ -e $CA ]] || certificate ca "/CN=lexiscale test node" \
    basicConstraints=critical,CA:TRUE keyUsage=critical,keyCertSign,cRLSign
  server etcd "$ip,DNS:localhost"
  server kube-apiserver "$ip,IP:$API_SERVICE_IP,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
  server "kubelet-$NODE" "$ip,DNS:$NODE"

  client etcd-client /CN=kube-apiserver
  # The kubelet answers logs and exec only to who may use the 'nodes/proxy' resource.
  client apiserver-kubelet "/O=system:masters/CN=kube-apiserver-kubelet-client"
  client admin "/O=system:masters/CN=admin"
  client kube-controller-manager /CN=system:kube-controller-manager
  client kube-scheduler /CN=system:kube-scheduler
  client kube-proxy /CN=system:kube-proxy
  client coredns /CN=coredns
  client local-path-provisioner /CN=local-path-provisioner
  client "kubelet-$NODE-client" "/O=system:nodes/CN=system:node:$NODE"

  # Signs service account tokens, which TokenReview then accepts.
  [[ -e $PKI/sa.pub ]] || {
    openssl ecparam -name prime256v1 -genkey -noout | write_file "$PKI/sa.key" 0600
    openssl ec -in "$PKI/sa.key" -pubout 2>/dev/null | write_file "$PKI/sa.pub"
  }

  local user
  for user in kube-controller-manager kube-scheduler kube-proxy coredns local-path-provisioner \
    "kubelet-$NODE-client"; do
    kubeconfig "$user" "https://127.0.0.1:$API_PORT" | write_file "$PKI/$user.kubeconfig" 0600
  done
  kubeconfig admin "https://127.0.0.1:$API_PORT" | write_file "$ADMIN_KUBECONFIG" 0600
}

server() {
  [[ -e $PKI/$1.crt ]] || certificate "$1" "/CN=$1" basicConstraints=critical,CA:FALSE \
    keyUsage=critical,digitalSignature extendedKeyUsage=serverAuth,clientAuth "subjectAltName=$2"
}

client() {
  [[ -e $PKI/$1.crt ]] || certificate "$1" "$2" basicConstraints=critical,CA:FALSE \
    keyUsage=critical,digitalSignature extendedKeyUsage=clientAuth
}

# certificate NAME SUBJECT EXTENSION...: signed by the CA, or by itself when it is the CA. The
# certificate is written last: it marks a whole pair.
certificate() {
  local name=$1 subject=$2 extension arguments=()
  shift 2
  for extension in "$@"; do arguments+=(-addext "$extension"); done
  [[ $name == ca ]] || arguments+=(-CA "$CA" -CAkey "$PKI/ca.key")
  # An own configuration: the default one adds extensions of a CA to every certificate.
  (umask 077 && openssl req -x509 -new -noenc -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 3650 \
    -config <(printf '[req]\ndistinguished_name=dn\n[dn]\n') -subj "$subject" "${arguments[@]}" \
    -keyout "$PKI/$name.key" -out "$PKI/$name.crt.new" 2>/dev/null) ||
    die "openssl could not make the certificate of $name"
  mv "$PKI/$name.crt.new" "$PKI/$name.crt"
}

# Carries its certificates inside, so that a copy works anywhere.
kubeconfig() {
  local user=$1 server=$2
  cat <<YAML
apiVersion: v1
kind: Config
current-context: $CONTEXT
clusters:
- name: $CONTEXT
  cluster:
    server: $server
    certificate-authority-data: $(base64 -w0 "$CA")
contexts:
- name: $CONTEXT
  context: {cluster: $CONTEXT, user: $user}
users:
- name: $user
  user:
    client-certificate-data: $(base64 -w0 "$PKI/$user.crt")
    client-key-data: $(base64 -w0 "$PKI/$user.key")
YAML
}
