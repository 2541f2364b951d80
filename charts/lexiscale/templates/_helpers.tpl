{{/* Names, labels and the parts that controller and gateway share. */}}

{{- define "lexiscale.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* 40 characters: names of children add up to 20, and a label ends at 63. */}}
{{- define "lexiscale.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- default $full .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* Arguments of the helpers below: dict "root" $ "component" "controller". */}}

{{- define "lexiscale.componentName" -}}
{{ include "lexiscale.fullname" .root }}-{{ .component }}
{{- end }}

{{- define "lexiscale.selectorLabels" -}}
app.kubernetes.io/name: {{ include "lexiscale.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "lexiscale.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{ include "lexiscale.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: lexiscale
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels of a pod: those of its owner but for the chart's version, whose change alone is no reason to roll. */}}
{{- define "lexiscale.podLabels" -}}
{{ include "lexiscale.selectorLabels" . }}
app.kubernetes.io/part-of: lexiscale
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "lexiscale.serviceAccountName" -}}
{{- $account := (index .root.Values .component).serviceAccount }}
{{- if $account.create }}
{{- default (include "lexiscale.componentName" .) $account.name }}
{{- else }}
{{- required (printf "%s.serviceAccount.name is required when %s.serviceAccount.create is false" .component .component) $account.name }}
{{- end }}
{{- end }}

{{/* dict "root" $ "image" .Values.image */}}
{{- define "lexiscale.image" -}}
{{- $registry := required "global.imageRegistry is required: the registry that `make images` pushed to, for example registry.example.com/search" .root.Values.global.imageRegistry }}
{{- $name := printf "%s/%s" (trimSuffix "/" $registry) .image.repository }}
{{- if .image.digest }}
{{- printf "%s@%s" $name .image.digest }}
{{- else }}
{{- printf "%s:%s" $name (default .root.Chart.AppVersion .image.tag) }}
{{- end }}
{{- end }}

{{- define "lexiscale.pullSecrets" -}}
{{- with .Values.global.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* What the grace period of a gateway leaves to its requests after drainDelay, with 10 s to write the last answers and to end. */}}
{{- define "lexiscale.drainSeconds" -}}
{{- $delay := .Values.gateway.drainDelay }}
{{- $milliseconds := get (dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000) (regexFind "[a-z]+$" $delay) }}
{{- $seconds := divf (mul (regexFind "^[0-9]+" $delay | int) $milliseconds) 1000 | ceil | int }}
{{- sub (int .Values.gateway.terminationGracePeriodSeconds) (add $seconds 10) }}
{{- end }}

{{/* Fields of the pod beside its containers. */}}
{{- define "lexiscale.podFields" -}}
{{- $values := index .root.Values .component -}}
serviceAccountName: {{ include "lexiscale.serviceAccountName" . }}
terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
{{- with include "lexiscale.pullSecrets" .root }}
{{ . }}
{{- end }}
securityContext:
  {{- toYaml $values.podSecurityContext | nindent 2 }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
{{- with $values.topologySpreadConstraints }}
  {{- toYaml . | nindent 2 }}
{{- else }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "lexiscale.selectorLabels" . | nindent 8 }}
{{- end }}
{{- end }}

{{/* Fields of the container beside its name, arguments, ports and volumes. */}}
{{- define "lexiscale.containerFields" -}}
{{- $values := index .root.Values .component -}}
image: {{ include "lexiscale.image" (dict "root" .root "image" .root.Values.image) }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{- with $values.extraEnv }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
resources:
  {{- toYaml $values.resources | nindent 2 }}
securityContext:
  {{- toYaml $values.securityContext | nindent 2 }}
livenessProbe:
  {{- toYaml $values.livenessProbe | nindent 2 }}
readinessProbe:
  {{- toYaml $values.readinessProbe | nindent 2 }}
{{- end }}

{{/* One rule for every pod of a NetworkPolicy: DNS and the API server. */}}
{{- define "lexiscale.egressToClusterServices" -}}
- ports:
  {{- range .Values.networkPolicy.dnsPorts }}
    - { port: {{ . }}, protocol: UDP }
    - { port: {{ . }}, protocol: TCP }
  {{- end }}
- to:
  {{- range .Values.networkPolicy.apiServer.cidrs }}
    - ipBlock: { cidr: {{ . | quote }} }
  {{- end }}
  ports:
  {{- range .Values.networkPolicy.apiServer.ports }}
    - { port: {{ . }}, protocol: TCP }
  {{- end }}
{{- end }}

{{/* Rules towards a collector, by its URL, as lexiscale_core::desired::network_policy makes them for workers. SERVICE.NAMESPACE.svc is a
     Service, and so is what stands before it a pod of one: pods may listen on any port, but in its namespace. Other names
     may be anywhere but on link-local addresses, where clouds answer with a machine's credentials. Names under a domain that need not
     be this cluster's may be either. */}}
{{- define "lexiscale.egressToCollector" -}}
{{- $url := urlParse . }}
{{- $service := "" }}
{{- $domain := "" }}
{{- if contains ".svc." $url.hostname }}
{{- $halves := splitn ".svc." 2 $url.hostname }}
{{- $service = $halves._0 }}
{{- $domain = trimAll "." $halves._1 }}
{{- else if hasSuffix ".svc" $url.hostname }}
{{- $service = trimSuffix ".svc" $url.hostname }}
{{- end }}
{{- $isInside := contains "." $service }}
{{- if $isInside }}
- to:
    - namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: {{ splitList "." $service | last }} } }
  ports:
    - { protocol: TCP }
{{- end }}
{{- if not (and $isInside (has $domain (list "" "cluster.local"))) }}
- to:
    - ipBlock: { cidr: 0.0.0.0/0, except: [169.254.0.0/16] }
    - ipBlock: { cidr: "::/0", except: ["fe80::/10"] }
  ports:
    - { port: {{ regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (eq $url.scheme "http" | ternary "80" "443") }}, protocol: TCP }
{{- end }}
{{- end }}

{{/* Name of a cluster-wide object: two releases in two namespaces must not fight for it. */}}
{{- define "lexiscale.clusterRoleName" -}}
{{ .root.Release.Namespace }}:{{ include "lexiscale.componentName" . }}
{{- end }}

{{/* Binds a component's ClusterRole: everywhere, or in the namespaces of the list "namespaces" only. */}}
{{- define "lexiscale.roleBindings" -}}
{{- $context := . }}
{{- if .namespaces }}
{{- range .namespaces }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ include "lexiscale.componentName" $context }}
  namespace: {{ . }}
{{ include "lexiscale.bindingBody" $context }}
{{- end }}
{{- else }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ include "lexiscale.clusterRoleName" $context }}
{{ include "lexiscale.bindingBody" $context }}
{{- end }}
{{- end }}

{{- define "lexiscale.bindingBody" }}  labels:
    {{- include "lexiscale.labels" . | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ include "lexiscale.clusterRoleName" . }}
subjects:
  - kind: ServiceAccount
    name: {{ include "lexiscale.serviceAccountName" . }}
    namespace: {{ .root.Release.Namespace }}
{{- end }}

{{/* The object's name for an inference id, as lexiscale_core::name::object_name makes it. */}}
{{- define "lexiscale.objectName" -}}
{{- if and (le (len .) 63) (regexMatch "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$" .) }}
{{- . }}
{{- else }}
{{- $slug := regexReplaceAll "[^a-z0-9]+" . "-" | trimAll "-" }}
{{- if not (regexMatch "^[a-z]" $slug) }}
{{- $slug = printf "endpoint-%s" $slug }}
{{- end }}
{{- printf "%s-%s" ($slug | trunc 54 | trimSuffix "-") (sha256sum . | trunc 8) }}
{{- end }}
{{- end }}
