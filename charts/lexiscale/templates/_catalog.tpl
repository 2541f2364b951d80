{{/* The catalog file: extraModels, then the models of which an id is left that no extra model took. */}}
{{- define "lexiscale.catalog" -}}
{{- $taken := dict }}
{{- $models := list }}
{{- range .Values.catalog.extraModels }}
{{- range .ids }}
{{- if hasKey $taken . }}
{{- fail (printf "catalog.extraModels names the id %s twice" .) }}
{{- end }}
{{- $_ := set $taken . true }}
{{- end }}
{{- $models = append $models . }}
{{- end }}
{{- range .Values.catalog.models }}
{{- $ids := list }}
{{- range .ids }}
{{- if not (hasKey $taken .) }}
{{- $ids = append $ids . }}
{{- $_ := set $taken . true }}
{{- end }}
{{- end }}
{{- if $ids }}
{{- $models = append $models (merge (dict "ids" $ids) .) }}
{{- end }}
{{- end }}
{{- if not (hasKey $taken .Values.catalog.defaultModelId) }}
{{- fail (printf "catalog.defaultModelId %s is in no entry of catalog.models or catalog.extraModels" .Values.catalog.defaultModelId) }}
{{- end }}
defaultModelId: {{ .Values.catalog.defaultModelId | quote }}
models:
  {{- toYaml $models | nindent 2 }}
{{- end }}
