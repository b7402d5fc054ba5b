{{/* What the schema cannot say: values that are good, but not together. */}}
{{- define "sre-server.validate" -}}
{{- $v := .Values -}}
{{- if eq (toString $v.enabled) "false" -}}
{{- fail "enabled: false is for charts that contain this one, and name it in the `condition` of the dependency" -}}
{{- end -}}
{{- if and (eq $v.authorization "policy") (not $v.policy.rules) -}}
{{- fail "authorization: policy needs policy.rules; without a rule nothing would be allowed" -}}
{{- end -}}
{{- if and $v.policy.rules (ne $v.authorization "policy") -}}
{{- fail (printf "policy.rules have no effect with authorization: %s; set authorization: policy" $v.authorization) -}}
{{- end -}}
{{- if and (eq $v.tls.source "selfSigned") (not $v.tls.selfSigned.notForProduction) -}}
{{- fail "tls.source: selfSigned keeps private keys in the release and ends after a day; if this is a trial, set tls.selfSigned.notForProduction=true" -}}
{{- end -}}
{{- range $name, $from := dict "tls.clientCA" $v.tls.clientCA "tls.crl" $v.tls.crl -}}
{{- if and $from.secretName $from.configMapName -}}
{{- fail (printf "%s: set secretName or configMapName, not both" $name) -}}
{{- end -}}
{{- end -}}
{{- if and (eq $v.tls.source "certManager") $v.tls.certManager.existingIssuer.enabled (not $v.tls.certManager.existingIssuer.name) -}}
{{- fail "tls.certManager.existingIssuer.name is required when it is enabled" -}}
{{- end -}}
{{- if and (eq $v.cluster.kind "kubeconfig") (not $v.cluster.kubeconfig.secretName) -}}
{{- fail "cluster.kind: kubeconfig needs cluster.kubeconfig.secretName" -}}
{{- end -}}
{{- /* Not for the schema, which would tell the value, and the password in it. */ -}}
{{- $redis := "^(rediss?://[^@/?#,\\s]+(/[0-9]*)?|rediss?\\+sentinel://[^@/?#\\s]+/[^@/?#\\s]+(/[0-9]+)?)?$" -}}
{{- if not (regexMatch $redis (default "" $v.sharedCache.url)) -}}
{{- fail "sharedCache.url is not redis://HOST:PORT or redis+sentinel://HOST:PORT,HOST:PORT/MASTER-NAME, nor with rediss; passwords come from Secrets" -}}
{{- end -}}
{{- if regexMatch "^[^/]*//[^/]*@" (default "" $v.syntheticQueries.pushTo) -}}
{{- fail "syntheticQueries.pushTo: a Pushgateway is asked without a password" -}}
{{- end -}}
{{- if $v.sharedCache.enabled -}}
{{- include "sre-server.validateCache" . -}}
{{- end -}}
{{- if eq (int $v.server.port) (int $v.server.opsPort) -}}
{{- fail "server.port and server.opsPort must differ" -}}
{{- end -}}
{{- if not $v.lifecycle -}}
{{- $needed := add $v.preStopSeconds 15 -}}
{{- if lt (int $v.terminationGracePeriodSeconds) (int $needed) -}}
{{- fail (printf "terminationGracePeriodSeconds must be at least preStopSeconds + 15 = %d, or requests are cut off" $needed) -}}
{{- end -}}
{{- end -}}
{{- if and (not (kindIs "invalid" $v.podDisruptionBudget.minAvailable)) (not (kindIs "invalid" $v.podDisruptionBudget.maxUnavailable)) -}}
{{- fail "podDisruptionBudget: set minAvailable or maxUnavailable, not both" -}}
{{- end -}}
{{- if $v.autoscaling.enabled -}}
{{- if gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas) -}}
{{- fail "autoscaling.minReplicas is greater than autoscaling.maxReplicas" -}}
{{- end -}}
{{- $requests := default dict ($v.resources).requests -}}
{{- if and $v.autoscaling.targetCPUUtilizationPercentage (not $requests.cpu) -}}
{{- fail "autoscaling by CPU needs resources.requests.cpu: the target is a percentage of it" -}}
{{- end -}}
{{- if and $v.autoscaling.targetMemoryUtilizationPercentage (not $requests.memory) -}}
{{- fail "autoscaling by memory needs resources.requests.memory: the target is a percentage of it" -}}
{{- end -}}
{{- if not (or $v.autoscaling.targetCPUUtilizationPercentage $v.autoscaling.targetMemoryUtilizationPercentage $v.autoscaling.metrics) -}}
{{- fail "autoscaling needs a target for CPU or memory, or metrics of its own" -}}
{{- end -}}
{{- end -}}
{{- with $v.networkPolicy -}}
{{- if and (eq (toString .enabled) "ingress") (or .apiserver.to .dns.to .sharedCache.to .extraEgress) -}}
{{- fail "networkPolicy.apiserver.to, dns.to, sharedCache.to and extraEgress have no effect with networkPolicy.enabled: ingress; set it to true" -}}
{{- end -}}
{{- end -}}
{{- if and $v.serviceMonitor.enabled $v.podMonitor.enabled -}}
{{- fail "serviceMonitor and podMonitor are both enabled: every metric would be there twice; choose one" -}}
{{- end -}}
{{- if and $v.syntheticQueries.enabled (not (include "sre-server.clientSecret" .)) -}}
{{- fail "syntheticQueries needs syntheticQueries.clientCertificate.secretName with tls.source: existingSecret" -}}
{{- end -}}
{{- end }}

{{- define "sre-server.validateCache" -}}
{{- $v := .Values -}}
{{- $cache := $v.sharedCache -}}
{{- if not $cache.url -}}
{{- fail "sharedCache needs sharedCache.url, such as rediss://redis.example.org:6379" -}}
{{- end -}}
{{- if not $cache.seal.secretName -}}
{{- fail "sharedCache needs sharedCache.seal.secretName: the key that seals what Redis keeps" -}}
{{- end -}}
{{- if eq $v.cluster.kind "simulated" -}}
{{- fail "sharedCache needs a real cluster: with cluster.kind: simulated each pod would have another one" -}}
{{- end -}}
{{- range $role, $own := dict "api" $cache.api "watcher" $cache.watcher "sentinel" $cache.sentinel -}}
{{- if and $own.user (not $own.password.secretName) -}}
{{- fail (printf "sharedCache.%s.user needs sharedCache.%s.password.secretName" $role $role) -}}
{{- end -}}
{{- end -}}
{{- if and $cache.ca.secretName $cache.ca.configMapName -}}
{{- fail "sharedCache.ca: set secretName or configMapName, not both" -}}
{{- end -}}
{{- if and (or $cache.sentinel.user $cache.sentinel.password.secretName) (not (contains "+sentinel:" $cache.url)) -}}
{{- fail "sharedCache.sentinel has no effect unless sharedCache.url begins with redis+sentinel:// or rediss+sentinel://" -}}
{{- end -}}
{{- if and (not (hasPrefix "rediss" $cache.url)) (or $cache.ca.secretName $cache.ca.configMapName $cache.certificate.secretName) -}}
{{- fail "sharedCache.ca and sharedCache.certificate have no effect with redis://; set sharedCache.url to rediss://, or rediss+sentinel://" -}}
{{- end -}}
{{- with $cache.watcher.podDisruptionBudget -}}
{{- if and (not (kindIs "invalid" .minAvailable)) (not (kindIs "invalid" .maxUnavailable)) -}}
{{- fail "sharedCache.watcher.podDisruptionBudget: set minAvailable or maxUnavailable, not both" -}}
{{- end -}}
{{- end -}}
{{- if and (include "sre-server.rbac" .) (eq (include "sre-server.watcherAccountName" .) (include "sre-server.serviceAccountName" .)) -}}
{{- fail "sharedCache.watcher.serviceAccount.name must not be that of serviceAccount: each role has its own permissions" -}}
{{- end -}}
{{- end }}
