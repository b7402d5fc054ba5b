{{- define "sre-server.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{/* 50 characters leave room for the suffixes of other objects. */}}
{{- define "sre-server.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "sre-server.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end }}

{{/* Objects of the whole cluster carry the namespace in their names: the same release name may be used in several. */}}
{{- define "sre-server.clusterName" -}}
{{- printf "%s-%s" (include "sre-server.namespace" .) (include "sre-server.fullname" .) -}}
{{- end }}

{{/* Call with the root and a component: (list . "server"). */}}
{{- define "sre-server.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "sre-server.name" $root | quote }}
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "sre-server.labels" -}}
{{- $root := index . 0 -}}
{{- $labels := fromYaml (include "sre-server.selectorLabels" .) -}}
{{- $_ := set $labels "app.kubernetes.io/version" $root.Chart.AppVersion -}}
{{- $_ := set $labels "app.kubernetes.io/part-of" "sre-server" -}}
{{- $_ := set $labels "app.kubernetes.io/managed-by" $root.Release.Service -}}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_") -}}
{{- toYaml (mergeOverwrite (deepCopy $root.Values.commonLabels) $labels) -}}
{{- end }}

{{- define "sre-server.image" -}}
{{- $registry := default .Values.image.registry .Values.global.imageRegistry -}}
{{- with $registry }}{{ . }}/{{ end -}}
{{ .Values.image.repository }}
{{- if or .Values.image.tag (not .Values.image.digest) }}:{{ default .Chart.AppVersion .Values.image.tag }}{{ end -}}
{{- with .Values.image.digest }}@{{ . }}{{ end -}}
{{- end }}

{{- define "sre-server.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "sre-server.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "sre-server.host" -}}
{{- printf "%s.%s.svc" (include "sre-server.fullname" .) (include "sre-server.namespace" .) -}}
{{- end }}

{{- define "sre-server.url" -}}
{{- printf "https://%s:%d" (include "sre-server.host" .) (int .Values.service.port) -}}
{{- end }}

{{/* "true" where the server's permissions in this cluster are the chart's business. */}}
{{- define "sre-server.rbac" -}}
{{- if and .Values.rbac.create (eq .Values.cluster.kind "in-cluster") }}true{{ end -}}
{{- end }}

{{- define "sre-server.serverSecret" -}}
{{- if eq .Values.tls.source "existingSecret" -}}
{{- required "tls.existingSecret.name is required" .Values.tls.existingSecret.name -}}
{{- else -}}
{{- include "sre-server.fullname" . }}-tls
{{- end -}}
{{- end }}

{{/* The Secret of the client that checks the server; empty if there is none. */}}
{{- define "sre-server.clientSecret" -}}
{{- if .Values.syntheticQueries.clientCertificate.secretName -}}
{{- .Values.syntheticQueries.clientCertificate.secretName -}}
{{- else if ne .Values.tls.source "existingSecret" -}}
{{- include "sre-server.fullname" . }}-client
{{- end -}}
{{- end }}

{{/* A source of a projected volume: (list {secretName, configMapName, key} default-Secret path). */}}
{{- define "sre-server.projection" -}}
{{- $from := index . 0 -}}
{{- if $from.configMapName -}}
configMap:
  name: {{ $from.configMapName }}
{{- else -}}
secret:
  name: {{ default (index . 1) $from.secretName }}
{{- end }}
  items:
    - key: {{ $from.key }}
      path: {{ index . 2 }}
{{- end }}

{{- define "sre-server.hasDocuments" -}}
{{- if or .Values.guardrails (eq .Values.authorization "policy") }}true{{ end -}}
{{- end }}

{{/* What a pod of a check has in common with every other: (list . component). */}}
{{- define "sre-server.checkPod" -}}
{{- $root := index . 0 -}}
restartPolicy: Never
automountServiceAccountToken: false
enableServiceLinks: {{ $root.Values.enableServiceLinks }}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The volume with the certificate of the client that checks: (list . Secret). */}}
{{- define "sre-server.clientVolume" -}}
{{- $keys := (index . 0).Values.syntheticQueries.clientCertificate -}}
- name: client
  secret:
    secretName: {{ index . 1 }}
    defaultMode: 0440
    items:
      - key: {{ $keys.certificateKey }}
        path: tls.crt
      - key: {{ $keys.privateKeyKey }}
        path: tls.key
      - key: {{ $keys.serverCAKey }}
        path: ca.crt
{{- end }}

{{/* The labels of a monitor or rule: (list . additionalLabels). */}}
{{- define "sre-server.monitoringLabels" -}}
{{- $labels := fromYaml (include "sre-server.labels" (list (index . 0) "server")) -}}
{{- toYaml (mergeOverwrite $labels (index . 1)) -}}
{{- end }}

{{/* What ServiceMonitor and PodMonitor say of their endpoint alike. */}}
{{- define "sre-server.scrape" -}}
path: /metrics
{{- with .interval }}
interval: {{ . }}
{{- end }}
{{- with .scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- if .honorLabels }}
honorLabels: true
{{- end }}
{{- with .relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
