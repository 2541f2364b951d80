{{/* Combinations that a schema cannot refuse. Called once, by the controller's Deployment. */}}
{{- define "lexiscale.guards" -}}
{{- if and .Values.watchNamespaces (not (has .Values.gateway.namespace .Values.watchNamespaces)) }}
{{- fail (printf "gateway.namespace %s is not in watchNamespaces: its endpoints would never be served" .Values.gateway.namespace) }}
{{- end }}
{{- if and .Values.watchNamespaces .Values.gateway.allNamespaces }}
{{- fail "gateway.allNamespaces serves every namespace, watchNamespaces names some: endpoints elsewhere would never get pods; unset one of the two" }}
{{- end }}
{{- with .Values.defaultEndpoint }}
{{- if and .enabled (gt (int .minNumberOfAllocations) (int .maxNumberOfAllocations)) }}
{{- fail "defaultEndpoint.maxNumberOfAllocations must be at least defaultEndpoint.minNumberOfAllocations" }}
{{- end }}
{{- end }}
{{- if and (eq .Values.gateway.service.type "ClusterIP") .Values.gateway.service.nodePort }}
{{- fail "gateway.service.nodePort needs gateway.service.type NodePort or LoadBalancer" }}
{{- end }}
{{- if lt (include "lexiscale.drainSeconds" . | int) 30 }}
{{- fail "gateway.terminationGracePeriodSeconds must be at least 40 more than gateway.drainDelay: what is left is how long any request may take" }}
{{- end }}
{{- if and (eq .Values.gateway.auth.mode "none") .Values.gateway.auth.apiKeysSecret }}
{{- fail "gateway.auth.apiKeysSecret needs gateway.auth.mode kubernetes: with none nobody is asked for a key" }}
{{- end }}
{{- with .Values.worker.tls }}
{{- if ne (empty .secretName) (empty .gatewaySecretName) }}
{{- fail "worker.tls.secretName and worker.tls.gatewaySecretName go together: with one of them alone, gateway and workers would not understand each other" }}
{{- end }}
{{- end }}
{{- end }}
