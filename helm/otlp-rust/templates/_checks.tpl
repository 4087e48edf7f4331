{{/* What the shape of values cannot say. Everything that is wrong is named at once. */}}
{{- define "otlp.checks" -}}
{{- $v := .Values -}}
{{- $wrong := list -}}
{{- $refs := include "otlp.references" . | fromYaml -}}
{{- if not $refs.catalog -}}
{{- $wrong = append $wrong "catalog.existingSecret.name is empty: name a Secret whose key `url` holds postgres://user:password@host:5432/database, or set trial.enabled=true for a PostgreSQL in the cluster" -}}
{{- end -}}
{{- if not $refs.store -}}
{{- $wrong = append $wrong "store.url is empty: give s3://bucket/prefix, gs://bucket/prefix or az://container/prefix, or set trial.enabled=true for a store in the cluster" -}}
{{- end -}}
{{- if and (hasPrefix "az://" $v.store.url) (not $v.store.azure.account) -}}
{{- $wrong = append $wrong "store.azure.account is empty: an az:// store needs it" -}}
{{- end -}}
{{- if and (hasPrefix "http://" $v.store.s3.endpoint) (not $v.store.s3.allowHttp) -}}
{{- $wrong = append $wrong "store.s3.endpoint begins with http://: credentials and data would travel in the clear; use https:// or set store.s3.allowHttp=true" -}}
{{- end -}}
{{- range $key, $instead := dict
  "catalog.url" "catalog.existingSecret, because a password does not belong into a ConfigMap"
  "catalog.url_file" "catalog.existingSecret"
  "redis.url" "redis.existingSecret, because a password does not belong into a ConfigMap"
  "redis.url_file" "redis.existingSecret"
  "store.url" "store.url"
  "store.s3.secret_access_key" "store.s3.existingSecret, because a secret does not belong into a ConfigMap"
  "store.azure.access_key" "store.azure.existingSecret, because a secret does not belong into a ConfigMap"
  "server.role" "roles.split"
  "server.otlp_grpc" "service, because Services and policies go by port 4317"
  "server.otlp_http" "service, because Services and policies go by port 4318"
  "server.http" "service, because Services and policies go by port 8080"
  "server.admin" "service, because Services and policies go by port 9090"
  "server.drain_delay" "drain.preStopSeconds, because a pod's grace period follows it"
  "server.shutdown_timeout" "drain.shutdownTimeout, because a pod's grace period follows it"
  "postgres_wire.enabled" "postgresWire.enabled"
  "retention.default" "retention.default" -}}
{{- $at := $v.config -}}
{{- range splitList "." $key }}{{ $at = ternary (get ($at | default dict) .) "" (kindIs "map" ($at | default dict)) }}{{ end -}}
{{- if not (or (kindIs "invalid" $at) (eq (toString $at) "")) -}}
{{- $wrong = append $wrong (printf "config.%s: use the chart's value %s" $key $instead) -}}
{{- end -}}
{{- end -}}
{{- if and $v.istio.enabled $v.linkerd.enabled -}}
{{- $wrong = append $wrong "istio.enabled and linkerd.enabled are both true: choose one mesh" -}}
{{- end -}}
{{- if and $v.istio.gateways (not $v.istio.hosts) (not $v.istio.apiHosts) -}}
{{- $wrong = append $wrong "istio.gateways is set, istio.hosts is empty and so is istio.apiHosts: name the hosts that the gateways serve" -}}
{{- end -}}
{{- if and $v.gatewayApi.enabled (not $v.gatewayApi.parentRefs) -}}
{{- $wrong = append $wrong "gatewayApi.parentRefs is empty: name the Gateway, such as [{name: otlp, namespace: gateways}]" -}}
{{- end -}}
{{- if and $v.ingress.enabled (not (or $v.ingress.otlpHttp.host $v.ingress.otlpGrpc.host $v.ingress.api.host)) -}}
{{- $wrong = append $wrong "ingress.enabled is true and no host is set: set ingress.otlpHttp.host, ingress.otlpGrpc.host or ingress.api.host" -}}
{{- end -}}
{{- /* Each controller has its own annotations for it: what can be seen is whether the API has any that the other hosts have not. */ -}}
{{- if and $v.ingress.enabled $v.ingress.api.host (not $v.ingress.api.annotations) (not $v.ingress.api.unauthenticated) -}}
{{- $wrong = append $wrong (printf "ingress.api.host %s would be open to everybody: otlp-rust does not authenticate. Let the ingress do it by ingress.api.annotations, or set ingress.api.unauthenticated=true if that is meant" $v.ingress.api.host) -}}
{{- end -}}
{{- if and $v.gatewayApi.enabled $v.gatewayApi.apiHostnames (not $v.gatewayApi.apiUnauthenticated) -}}
{{- $wrong = append $wrong (printf "gatewayApi.apiHostnames: otlp-rust does not authenticate, and neither does a route. Let the gateway do it by a policy of its own for HTTPRoute %s-api, then set gatewayApi.apiUnauthenticated=true" (include "otlp.name" .)) -}}
{{- end -}}
{{- if and $v.istio.enabled $v.istio.gateways $v.istio.apiHosts (not $v.istio.apiUnauthenticated) -}}
{{- $wrong = append $wrong "istio.apiHosts: otlp-rust does not authenticate. Let the gateway do it by RequestAuthentication and AuthorizationPolicy, then set istio.apiUnauthenticated=true" -}}
{{- end -}}
{{- if and $v.ingress.enabled $v.ingress.tls -}}
{{- range $host := list $v.ingress.otlpHttp.host $v.ingress.otlpGrpc.host $v.ingress.api.host | compact | uniq -}}
{{- if not (include "otlp.ingress.tls" (dict "root" $ "host" $host) | trim) -}}
{{- $wrong = append $wrong (printf "ingress.tls has no certificate for %s, which would be served in the clear: add the host to an entry of it, or set ingress.tls=[] if that is meant" $host) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $v.probe.enabled (not (and $v.probe.targets $v.probe.proberUrl)) -}}
{{- $wrong = append $wrong "probe.enabled is true and nobody is asked: name probe.targets, such as [https://otlp.example.com/readyz], and probe.proberUrl" -}}
{{- end -}}
{{- if and $v.serviceMonitor.enabled $v.podMonitor.enabled -}}
{{- $wrong = append $wrong "serviceMonitor.enabled and podMonitor.enabled are both true: every sample would be scraped twice; choose one" -}}
{{- end -}}
{{- range (include "otlp.roles" . | fromYaml).roles -}}
{{- if and .autoscaling.enabled (gt (int .autoscaling.minReplicas) (int .autoscaling.maxReplicas)) -}}
{{- $wrong = append $wrong (printf "autoscaling of %s: minReplicas %v is above maxReplicas %v" .name .autoscaling.minReplicas .autoscaling.maxReplicas) -}}
{{- end -}}
{{- if and .autoscaling.enabled (not (or .autoscaling.targetCPUUtilizationPercentage .autoscaling.targetMemoryUtilizationPercentage .autoscaling.metrics)) -}}
{{- $wrong = append $wrong (printf "autoscaling of %s has nothing to go by: set targetCPUUtilizationPercentage, targetMemoryUtilizationPercentage or metrics" .name) -}}
{{- end -}}
{{- if and .autoscaling.enabled $v.verticalPodAutoscaler.enabled (ne $v.verticalPodAutoscaler.updateMode "Off") -}}
{{- $wrong = append $wrong (printf "verticalPodAutoscaler.updateMode %s changes the requests that the autoscaler of %s measures by: use Off, or turn autoscaling off" $v.verticalPodAutoscaler.updateMode .name) -}}
{{- end -}}
{{- end -}}
{{- if $wrong -}}
{{- fail (printf "\n\nthese values are wrong:\n  - %s\n" (join "\n  - " $wrong)) -}}
{{- end -}}
{{- end }}
