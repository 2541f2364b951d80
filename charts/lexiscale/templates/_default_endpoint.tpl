{{/*
What becomes of the default endpoint: `made`, `removed` or `off`, then its namespace and name. Who deletes it means it, so an
upgrade must not bring it back: the annotation on the catalog's ConfigMap remembers that it was made once, and when it is not
there any more, that it was removed. Outside of a cluster (helm template, GitOps) nothing is remembered, and it is made.
*/}}
{{- define "lexiscale.defaultEndpointFate" -}}
{{- $values := .Values.defaultEndpoint -}}
{{- $name := include "lexiscale.objectName" $values.inferenceId -}}
{{- $which := printf "%s/%s" .Values.gateway.namespace $name -}}
{{- $fate := "made" -}}
{{- if not $values.enabled -}}
{{- $fate = "off" -}}
{{- else if not $values.restore -}}
{{- $record := lookup "v1" "ConfigMap" .Release.Namespace (printf "%s-catalog" (include "lexiscale.fullname" .)) | default dict -}}
{{- $before := dig "metadata" "annotations" "inference.lexiscale.io/default-endpoint" "" $record -}}
{{- if eq $before (printf "removed %s" $which) -}}
{{- $fate = "removed" -}}
{{- else if eq $before (printf "made %s" $which) -}}
{{- /* Only now: before the first release the cluster does not know the kind, and Helm fails on that. */ -}}
{{- if not (lookup "inference.lexiscale.io/v1alpha1" "InferenceEndpoint" .Values.gateway.namespace $name) -}}
{{- $fate = "removed" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{ $fate }} {{ $which }}
{{- end }}
