{{/*
A Deployment of the server: (list root component name its-service-account). A watcher is the same server in another role, so
it has what the pods that serve have, but for what belongs to serving.
*/}}
{{- define "sre-server.deployment" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $name := index . 2 -}}
{{- $account := index . 3 -}}
{{- $serving := eq $component "server" -}}
{{- with $root -}}
{{- $authorization := ternary "policy:/etc/sre-server/config/policy.yaml" .Values.authorization (eq .Values.authorization "policy") -}}
{{- $interface := "" -}}
{{- with .Values.server.listenAddress }}{{ $interface = printf ":interface=%s" (replace ":" "\\:" .) }}{{ end -}}
{{- $replicas := include "sre-server.replicas" . -}}
{{- $mark := ternary (dict "sre-server/replicas" $replicas) dict (eq $replicas "autoscaled") -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- $more := dict "annotations" (merge $mark (default dict .Values.annotations)) }}
  {{- include "sre-server.metadata" (list . $component $name $more) | nindent 2 }}
spec:
  {{- if ne $replicas "autoscaled" }}
  replicas: {{ $replicas }}
  {{- end }}
  {{- include "sre-server.given" (list .Values "revisionHistoryLimit" "minReadySeconds" "progressDeadlineSeconds") | nindent 2 }}
  {{- with .Values.strategy }}
  strategy:
    {{- include "sre-server.given" (list . "type" (ternary "rollingUpdate" "" (eq .type "RollingUpdate"))) | nindent 4 }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "sre-server.selectorLabels" (list . $component) | nindent 6 }}
  template:
    metadata:
      labels:
        {{- /* Without the chart's version: a new chart alone is no reason to replace pods. */}}
        {{- $labels := omit (fromYaml (include "sre-server.labels" (list . $component))) "helm.sh/chart" }}
        {{- toYaml (merge $labels (default dict .Values.podLabels)) | nindent 8 }}
      annotations:
        {{- $annotations := dict "kubectl.kubernetes.io/default-container" "sre-server" }}
        {{- if and $serving .Values.restartOnConfigChange (include "sre-server.hasDocuments" .) }}
        {{- $config := include (print .Template.BasePath "/configmap.yaml") . | fromYaml }}
        {{- $_ := set $annotations "checksum/config" (toYaml $config.data | sha256sum) }}
        {{- end }}
        {{- toYaml (mergeOverwrite $annotations (default dict .Values.podAnnotations)) | nindent 8 }}
    spec:
      serviceAccountName: {{ $account | quote }}
      automountServiceAccountToken: {{ eq .Values.cluster.kind "in-cluster" }}
      {{- $keys := list "enableServiceLinks" "terminationGracePeriodSeconds" "hostUsers" "imagePullSecrets" "priorityClassName" }}
      {{- $keys = concat $keys (list "runtimeClassName" "schedulerName" "initContainers" "nodeSelector" "affinity") }}
      {{- $keys = concat $keys (list "tolerations" "dnsPolicy" "dnsConfig" "hostAliases") }}
      {{- include "sre-server.given" (prepend $keys .Values) | nindent 6 }}
      {{- with .Values.podSecurityContext }}
      securityContext:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.topologySpreadConstraints }}
      topologySpreadConstraints:
        {{- range . }}
        {{- $constraint := deepCopy . }}
        {{- if not $constraint.labelSelector }}
        {{- $_ := set $constraint "labelSelector" (dict "matchLabels" (fromYaml (include "sre-server.selectorLabels" (list $root $component)))) }}
        {{- $_ := set $constraint "matchLabelKeys" (default (list "pod-template-hash") $constraint.matchLabelKeys) }}
        {{- end }}
        - {{- toYaml $constraint | nindent 10 }}
        {{- end }}
      {{- end }}
      containers:
        - name: sre-server
          image: {{ include "sre-server.image" . | quote }}
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          args:
            {{- if $serving }}
            - {{ printf "--listen=tcp:%d%s" (int .Values.server.port) $interface | squote }}
            {{- end }}
            - {{ printf "--ops-listen=tcp:%d%s" (int .Values.server.opsPort) $interface | squote }}
            {{- if $serving }}
            - --tls-certificate=/etc/sre-server/tls/tls.crt
            - --tls-private-key=/etc/sre-server/tls/tls.key
            - --tls-client-ca=/etc/sre-server/tls/client-ca.crt
            {{- if or .Values.tls.crl.secretName .Values.tls.crl.configMapName }}
            - --tls-crl=/etc/sre-server/tls/crl.pem
            {{- end }}
            - --expiry-warning={{ .Values.server.expiryWarning }}
            - --authorization={{ $authorization }}
            {{- if eq .Values.authorization "kubernetes" }}
            - --system-names={{ .Values.systemNames }}
            {{- end }}
            {{- if .Values.guardrails }}
            - --guardrails=/etc/sre-server/config/guardrails.yaml
            {{- end }}
            {{- with .Values.server.auditLog }}
            - {{ printf "--audit-log=%s" . | quote }}
            {{- end }}
            - --read-rate={{ .Values.server.readRate }}
            - --write-rate={{ .Values.server.writeRate }}
            - --handshake-rate={{ .Values.server.handshakeRate }}
            - --max-connections={{ int .Values.server.maxConnections }}
            - --max-connections-per-address={{ int .Values.server.maxConnectionsPerAddress }}
            - --max-connections-per-identity={{ int .Values.server.maxConnectionsPerIdentity }}
            {{- end }}
            - --max-staleness={{ .Values.server.maxStaleness }}
            {{- $without := list }}
            {{- if not .Values.server.autoscalers }}
            {{- $without = append $without "autoscalers" }}
            {{- end }}
            {{- if not .Values.server.authors }}
            {{- $without = append $without "authors" }}
            {{- end }}
            {{- if and $serving (not .Values.server.quotas) }}
            {{- $without = append $without "quotas" }}
            {{- end }}
            {{- if and $serving (not .Values.server.podCauses) }}
            {{- $without = append $without "pods" }}
            {{- end }}
            {{- if $without }}
            - --without={{ join "," $without }}
            {{- end }}
            {{- if .Values.temporary.enabled }}
            - {{ printf "--temporary-store=%s" (include "sre-server.temporaryStore" .) | quote }}
            {{- end }}
            - --log-format={{ .Values.server.logFormat }}
            - --cluster={{ .Values.cluster.kind }}
            {{- if eq .Values.cluster.kind "kubeconfig" }}
            - --kubeconfig=/etc/sre-server/kubeconfig/kubeconfig
            {{- with .Values.cluster.kubeconfig.context }}
            - {{ printf "--context=%s" . | quote }}
            {{- end }}
            {{- end }}
            {{- if eq .Values.cluster.kind "simulated" }}
            - --simulated-deployments={{ int .Values.cluster.simulatedDeployments }}
            {{- end }}
            {{- range .Values.namespaces }}
            - --namespace={{ . }}
            {{- end }}
            {{- if .Values.sharedCache.enabled }}
            - --role={{ ternary "api" "watcher" $serving }}
            {{- if not $serving }}
            - {{ printf "--lease=%s/%s" (include "sre-server.namespace" .) $name | quote }}
            {{- end }}
            {{- include "sre-server.cacheOptions" (list . $component) | nindent 12 }}
            {{- end }}
            {{- range .Values.extraArgs }}
            - {{ . | quote }}
            {{- end }}
          {{- with .Values.extraEnv }}
          env:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          ports:
            {{- if $serving }}
            - name: https
              containerPort: {{ .Values.server.port }}
              protocol: TCP
            {{- end }}
            - name: ops
              containerPort: {{ .Values.server.opsPort }}
              protocol: TCP
          {{- $keys = list "envFrom" "startupProbe" "livenessProbe" "readinessProbe" "resources" "securityContext" }}
          {{- include "sre-server.given" (prepend $keys .Values) | nindent 10 }}
          {{- if .Values.lifecycle }}
          lifecycle:
            {{- toYaml .Values.lifecycle | nindent 12 }}
          {{- else if .Values.preStopSeconds }}
          lifecycle:
            preStop:
              sleep:
                seconds: {{ int .Values.preStopSeconds }}
          {{- end }}
          volumeMounts:
            {{- if $serving }}
            - name: tls
              mountPath: /etc/sre-server/tls
              readOnly: true
            {{- if include "sre-server.hasDocuments" . }}
            - name: config
              mountPath: /etc/sre-server/config
              readOnly: true
            {{- end }}
            {{- end }}
            {{- if .Values.sharedCache.enabled }}
            - name: cache
              mountPath: /etc/sre-server/cache
              readOnly: true
            {{- end }}
            {{- if eq .Values.cluster.kind "kubeconfig" }}
            - name: kubeconfig
              mountPath: /etc/sre-server/kubeconfig
              readOnly: true
            - name: tmp
              mountPath: /tmp
            {{- end }}
            {{- with .Values.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
        {{- with .Values.extraContainers }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      volumes:
        {{- if $serving }}
        - name: tls
          projected:
            defaultMode: 0440
            sources:
              - secret:
                  name: {{ include "sre-server.serverSecret" . | quote }}
                  items:
                    {{- $existing := eq .Values.tls.source "existingSecret" }}
                    - key: {{ ternary .Values.tls.existingSecret.certificateKey "tls.crt" $existing | quote }}
                      path: tls.crt
                    - key: {{ ternary .Values.tls.existingSecret.privateKeyKey "tls.key" $existing | quote }}
                      path: tls.key
              - {{- include "sre-server.projection" (list .Values.tls.clientCA (include "sre-server.serverSecret" .) "client-ca.crt") | nindent 16 }}
              {{- if or .Values.tls.crl.secretName .Values.tls.crl.configMapName }}
              - {{- include "sre-server.projection" (list .Values.tls.crl "" "crl.pem") | nindent 16 }}
              {{- end }}
        {{- if include "sre-server.hasDocuments" . }}
        - name: config
          configMap:
            name: {{ include "sre-server.fullname" . | quote }}
        {{- end }}
        {{- end }}
        {{- if .Values.sharedCache.enabled }}
        - name: cache
          projected:
            defaultMode: 0440
            sources:
              {{- include "sre-server.cacheFiles" (list . $component) | nindent 14 }}
        {{- end }}
        {{- if eq .Values.cluster.kind "kubeconfig" }}
        - name: kubeconfig
          secret:
            secretName: {{ .Values.cluster.kubeconfig.secretName | quote }}
            defaultMode: 0440
            items:
              - key: {{ .Values.cluster.kubeconfig.key | quote }}
                path: kubeconfig
        # The client of Kubernetes unpacks the kubeconfig's certificates there.
        - name: tmp
          emptyDir:
            medium: Memory
            sizeLimit: 16Mi
        {{- end }}
        {{- with .Values.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
{{- end }}
{{- end }}
