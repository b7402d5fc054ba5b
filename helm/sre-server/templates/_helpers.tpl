{{- define "sre-server.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{/* 50 characters leave room for the suffixes of other objects. A release's name may have dots, a Service's may not. */}}
{{- define "sre-server.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | replace "." "-" | trunc 50 | trimAll "-" -}}
{{- end }}

{{- define "sre-server.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end }}

{{/* For objects outside of the release's namespace. Without the hash, "x" in "a-b" and "b-x" in "a" would be one. */}}
{{- define "sre-server.clusterName" -}}
{{- include "sre-server.joined" (list (include "sre-server.namespace" .) (include "sre-server.fullname" .)) -}}
{{- end }}

{{- define "sre-server.watcherClusterName" -}}
{{- include "sre-server.joined" (list (include "sre-server.namespace" .) (include "sre-server.watcherName" .)) -}}
{{- end }}

{{- define "sre-server.joined" -}}
{{- $hash := printf "%s/%s" (index . 0) (index . 1) | sha256sum | trunc 8 -}}
{{- printf "%s-%s" (printf "%s-%s" (index . 0) (index . 1) | trunc 54 | trimAll "-") $hash -}}
{{- end }}

{{- define "sre-server.watcherName" -}}
{{- include "sre-server.fullname" . }}-watcher
{{- end }}

{{- define "sre-server.temporaryName" -}}
{{- include "sre-server.fullname" . }}-temporary
{{- end }}

{{/* NAMESPACE/NAME of the ConfigMap of temporary counts, in the cluster that is served; the simulated one comes with one. */}}
{{- define "sre-server.temporaryStore" -}}
{{- $ours := printf "%s/%s" (include "sre-server.namespace" .) (include "sre-server.temporaryName" .) -}}
{{- ternary "default/temporary-counts" $ours (eq .Values.cluster.kind "simulated") -}}
{{- end }}

{{/* A CronJob's name has 52 characters at most, as its Jobs' names are made of it. */}}
{{- define "sre-server.cronJobName" -}}
{{- $fullname := include "sre-server.fullname" . -}}
{{- $short := printf "%s-%s" ($fullname | trunc 33 | trimAll "-") (sha256sum $fullname | trunc 8) -}}
{{- printf "%s-synthetic" (ternary $short $fullname (gt (len $fullname) 42)) -}}
{{- end }}

{{/*
Those of a map's keys that have a value: (list map key...). A key that is null or empty is left out, so that the cluster's
default holds; 0 and false are values.
*/}}
{{- define "sre-server.given" -}}
{{- $map := first . -}}
{{- $given := dict -}}
{{- range rest . -}}
{{- if not (has (toJson (get $map .)) (list "null" "\"\"" "[]" "{}")) -}}
{{- $_ := set $given . (get $map .) -}}
{{- end -}}
{{- end -}}
{{- with $given }}{{ toYaml . }}{{ end -}}
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
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63) -}}
{{- toYaml (merge $labels (default dict $root.Values.commonLabels)) -}}
{{- end }}

{{/* The metadata of an object in the release's namespace: (list . component name {labels, annotations}). */}}
{{- define "sre-server.metadata" -}}
{{- $root := index . 0 -}}
{{- $more := ternary (last .) dict (gt (len .) 3) -}}
{{- $labels := merge (fromYaml (include "sre-server.labels" (list $root (index . 1)))) (default dict $more.labels) -}}
{{- $metadata := dict "name" (index . 2) "namespace" (include "sre-server.namespace" $root) "labels" $labels -}}
{{- with $more.annotations }}{{ $_ := set $metadata "annotations" . }}{{ end -}}
{{- toYaml $metadata -}}
{{- end }}

{{- define "sre-server.image" -}}
{{- with default .Values.image.registry (.Values.global).imageRegistry }}{{ trimSuffix "/" . }}/{{ end -}}
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

{{- define "sre-server.watcherAccountName" -}}
{{- with .Values.sharedCache.watcher.serviceAccount -}}
{{- default (ternary (include "sre-server.watcherName" $) "default" .create) .name -}}
{{- end -}}
{{- end }}

{{- define "sre-server.host" -}}
{{- printf "%s.%s.svc" (include "sre-server.fullname" .) (include "sre-server.namespace" .) -}}
{{- end }}

{{- define "sre-server.url" -}}
{{- printf "https://%s:%d" (include "sre-server.host" .) (int .Values.service.port) -}}
{{- end }}

{{/*
How many pods the manifest asks for, or "autoscaled". A manifest without a count, after one that had one, sets it to 1; so
under autoscaling the count of now is told. A Deployment that never had one from here is marked as such, and stays without:
going back to one of its earlier manifests leaves the count alone, too.
*/}}
{{- define "sre-server.replicas" -}}
{{- if .Values.autoscaling.enabled -}}
{{- $live := lookup "apps/v1" "Deployment" (include "sre-server.namespace" .) (include "sre-server.fullname" .) -}}
{{- $marked := eq (dig "metadata" "annotations" "sre-server/replicas" "" $live) "autoscaled" -}}
{{- if or $marked (not $live) }}autoscaled{{ else }}{{ int $live.spec.replicas }}{{ end -}}
{{- else -}}
{{- int .Values.replicaCount -}}
{{- end -}}
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
  name: {{ $from.configMapName | quote }}
{{- else -}}
secret:
  name: {{ default (index . 1) $from.secretName | quote }}
{{- end }}
  items:
    - key: {{ $from.key | quote }}
      path: {{ index . 2 }}
{{- end }}

{{/* The options for a shared cache that both roles take: (list root component). */}}
{{- define "sre-server.cacheOptions" -}}
{{- $cache := (index . 0).Values.sharedCache -}}
{{- $own := ternary $cache.api $cache.watcher (eq (index . 1) "server") -}}
- {{ printf "--cache=%s" $cache.url | quote }}
- {{ printf "--cache-name=%s" $cache.name | quote }}
- --cache-seal=/etc/sre-server/cache/seal
{{- with $own.user }}
- {{ printf "--cache-user=%s" . | quote }}
{{- end }}
{{- if $own.password.secretName }}
- --cache-password-file=/etc/sre-server/cache/password
{{- end }}
{{- with $cache.sentinel.user }}
- {{ printf "--cache-sentinel-user=%s" . | quote }}
{{- end }}
{{- if $cache.sentinel.password.secretName }}
- --cache-sentinel-password-file=/etc/sre-server/cache/sentinel-password
{{- end }}
{{- if or $cache.ca.secretName $cache.ca.configMapName }}
- --cache-ca=/etc/sre-server/cache/ca.crt
{{- end }}
{{- if $cache.certificate.secretName }}
- --cache-certificate=/etc/sre-server/cache/tls.crt
- --cache-private-key=/etc/sre-server/cache/tls.key
{{- end }}
{{- end }}

{{/* The files that these name, as sources of a projected volume: (list root component). */}}
{{- define "sre-server.cacheFiles" -}}
{{- $cache := (index . 0).Values.sharedCache -}}
{{- $own := ternary $cache.api $cache.watcher (eq (index . 1) "server") -}}
- {{- include "sre-server.projection" (list $cache.seal "" "seal") | nindent 2 }}
{{- if $own.password.secretName }}
- {{- include "sre-server.projection" (list $own.password "" "password") | nindent 2 }}
{{- end }}
{{- if $cache.sentinel.password.secretName }}
- {{- include "sre-server.projection" (list $cache.sentinel.password "" "sentinel-password") | nindent 2 }}
{{- end }}
{{- if or $cache.ca.secretName $cache.ca.configMapName }}
- {{- include "sre-server.projection" (list $cache.ca "" "ca.crt") | nindent 2 }}
{{- end }}
{{- with $cache.certificate }}
{{- if .secretName }}
- secret:
    name: {{ .secretName | quote }}
    items:
      - key: {{ .certificateKey | quote }}
        path: tls.crt
      - key: {{ .privateKeyKey | quote }}
        path: tls.key
{{- end }}
{{- end }}
{{- end }}

{{/* The ports of Redis, and of its sentinels: a JSON list of those in the URL, or else the usual ones. */}}
{{- define "sre-server.cachePorts" -}}
{{- $url := default "" .Values.sharedCache.url -}}
{{- $sentinels := contains "+sentinel:" $url -}}
{{- $ports := ternary (list 6379) list $sentinels -}}
{{- range regexReplaceAll "^[a-z+]+://([^/]*).*$" $url "${1}" | splitList "," -}}
{{- $ports = append $ports (regexFind ":[0-9]+$" . | trimPrefix ":" | default (ternary "26379" "6379" $sentinels) | int) -}}
{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end }}

{{/*
"true" while pods may run that list and watch by themselves: the first upgrade with a shared cache must not take that from
them before their successors serve. As of the next one nobody needs it any more.
*/}}
{{- define "sre-server.stillWatching" -}}
{{- with lookup "apps/v1" "Deployment" (include "sre-server.namespace" .) (include "sre-server.fullname" .) -}}
{{- $follows := contains "\"--role=api\"" (toJson .spec.template.spec.containers) -}}
{{- $status := default dict .status -}}
{{- $replaced := and (eq (int $status.updatedReplicas) (int $status.replicas)) (ge (int $status.observedGeneration) (int .metadata.generation)) -}}
{{- if not (and $follows $replaced) }}true{{ end -}}
{{- end -}}
{{- end }}

{{- define "sre-server.hasDocuments" -}}
{{- if or .Values.guardrails (eq .Values.authorization "policy") }}true{{ end -}}
{{- end }}

{{/* What a pod of a check has in common with every other: (list . component). */}}
{{- define "sre-server.checkPod" -}}
{{- $root := index . 0 -}}
restartPolicy: Never
automountServiceAccountToken: false
{{ include "sre-server.given" (list $root.Values "enableServiceLinks" "imagePullSecrets" "nodeSelector" "tolerations") }}
{{- with $root.Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The volume with the certificate of the client that checks: (list . Secret). */}}
{{- define "sre-server.clientVolume" -}}
{{- $keys := (index . 0).Values.syntheticQueries.clientCertificate -}}
- name: client
  secret:
    secretName: {{ index . 1 | quote }}
    defaultMode: 0440
    items:
      - key: {{ $keys.certificateKey | quote }}
        path: tls.crt
      - key: {{ $keys.privateKeyKey | quote }}
        path: tls.key
      - key: {{ $keys.serverCAKey | quote }}
        path: ca.crt
{{- end }}

{{/* The metadata of what may be in a namespace of the monitoring's: (list . its-values its-labels suffix). */}}
{{- define "sre-server.monitoringMetadata" -}}
{{- $root := index . 0 -}}
{{- $namespace := default (include "sre-server.namespace" $root) (index . 1).namespace -}}
{{- $own := eq $namespace (include "sre-server.namespace" $root) -}}
{{- $name := include (ternary "sre-server.fullname" "sre-server.clusterName" $own) $root -}}
{{- $labels := fromYaml (include "sre-server.labels" (list $root "server")) -}}
{{- $metadata := dict "namespace" $namespace "labels" (mergeOverwrite $labels (default dict (index . 2))) -}}
{{- with (index . 1).annotations }}{{ $_ := set $metadata "annotations" . }}{{ end -}}
{{- toYaml (set $metadata "name" (printf "%s%s" $name (index . 3))) -}}
{{- end }}

{{/* What is scraped, as ServiceMonitor and PodMonitor both say it: (list . component). */}}
{{- define "sre-server.monitored" -}}
jobLabel: app.kubernetes.io/name
namespaceSelector:
  matchNames: [{{ include "sre-server.namespace" (index . 0) | quote }}]
selector:
  {{- if and (eq (index . 1) "server") (index . 0).Values.sharedCache.enabled }}
  matchLabels:
    {{- omit (fromYaml (include "sre-server.selectorLabels" .)) "app.kubernetes.io/component" | toYaml | nindent 4 }}
  matchExpressions:
    - {key: app.kubernetes.io/component, operator: In, values: [server, watcher]}
  {{- else }}
  matchLabels:
    {{- include "sre-server.selectorLabels" . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* And how. */}}
{{- define "sre-server.scrape" -}}
port: ops
path: /metrics
{{ include "sre-server.given" (list . "interval" "scrapeTimeout" "honorLabels" "relabelings" "metricRelabelings") }}
{{- end }}

{{/* What may come in to pods of either role: monitoring, and what the values add. */}}
{{- define "sre-server.opsIngress" -}}
{{- with .Values.networkPolicy.monitoring -}}
- ports:
    - port: {{ $.Values.server.opsPort }}
      protocol: TCP
  from:
    {{- toYaml . | nindent 4 }}
{{- end }}
{{- with .Values.networkPolicy.extraIngress }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Where pods of either role may go besides DNS: the apiserver, Redis, and what the values add. */}}
{{- define "sre-server.egress" -}}
- ports:
    {{- range .Values.networkPolicy.apiserver.ports }}
    - port: {{ . }}
      protocol: TCP
    {{- end }}
  {{- include "sre-server.given" (list .Values.networkPolicy.apiserver "to") | nindent 2 }}
{{- if .Values.sharedCache.enabled }}
- ports:
    {{- range include "sre-server.cachePorts" . | fromJsonArray }}
    - port: {{ int . }}
      protocol: TCP
    {{- end }}
  {{- include "sre-server.given" (list .Values.networkPolicy.sharedCache "to") | nindent 2 }}
{{- end }}
{{- with .Values.networkPolicy.extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end }}
