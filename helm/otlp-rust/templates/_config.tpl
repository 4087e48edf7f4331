{{/* The configuration file, and where what it refers to comes from. */}}

{{/* The Secret and keys behind each reference: given ones, or those of the trial. An empty dict where there is none. */}}
{{- define "otlp.references" -}}
{{- $v := .Values -}}
{{- $trial := printf "%s-trial" (include "otlp.name" .) -}}
{{- $refs := dict "catalog" (dict) "redis" (dict) "store" (dict) -}}
{{- range $part := list "catalog" "redis" -}}
  {{- $given := (get $v $part).existingSecret -}}
  {{- if $given.name -}}
    {{- $_ := set $refs $part (dict "secret" $given.name "key" $given.key) -}}
  {{- else if $v.trial.enabled -}}
    {{- $_ := set $refs $part (dict "secret" $trial "key" (printf "%s-url" $part) "trial" true) -}}
  {{- end -}}
{{- end -}}
{{- if $v.store.url -}}
  {{- $scheme := regexFind "^[a-z0-9]+" $v.store.url -}}
  {{- $store := dict "url" $v.store.url "scheme" $scheme "endpoint" $v.store.s3.endpoint -}}
  {{- $s3 := $v.store.s3.existingSecret -}}
  {{- $gcs := $v.store.gcs.existingSecret -}}
  {{- $azure := $v.store.azure.existingSecret -}}
  {{- if and (eq $scheme "s3") $s3.name -}}
    {{- $store = merge $store (dict "secret" $s3.name "idKey" $s3.accessKeyIdKey "key" $s3.secretAccessKeyKey "file" "s3-secret-access-key") -}}
  {{- else if and (eq $scheme "gs") $gcs.name -}}
    {{- $store = merge $store (dict "secret" $gcs.name "key" $gcs.key "file" "gcs-service-account.json") -}}
  {{- else if and (eq $scheme "az") $azure.name -}}
    {{- $store = merge $store (dict "secret" $azure.name "key" $azure.key "file" "azure-access-key") -}}
  {{- end -}}
  {{- $_ := set $refs "store" $store -}}
{{- else if $v.trial.enabled -}}
  {{- $_ := set $refs "store" (dict "url" "s3://otlp-rust" "scheme" "s3" "trial" true
    "endpoint" (printf "http://%s-s3:9000" (include "otlp.name" .))
    "secret" $trial "idKey" "s3-access-key-id" "key" "s3-secret-access-key" "file" "s3-secret-access-key") -}}
{{- end -}}
{{- toYaml $refs -}}
{{- end }}

{{/* Connections of one pod: the budget, shared among the most pods that can be there at once (a surge included). */}}
{{- define "otlp.maxConnections" -}}
{{- if .Values.catalog.maxConnections -}}
{{- .Values.catalog.maxConnections -}}
{{- else -}}
{{- $pods := 0 -}}
{{- range (include "otlp.roles" . | fromYaml).roles -}}
{{- $pods = add $pods .most 1 -}}
{{- end -}}
{{- $share := div .Values.catalog.connectionBudget $pods -}}
{{- if lt $share 2 -}}
{{- fail (printf "catalog.connectionBudget: %v connections are not enough for %v pods, each needs 2: raise it (and PostgreSQL's max_connections), put a pooler in session mode before PostgreSQL, or allow fewer pods (autoscaling.maxReplicas)" .Values.catalog.connectionBudget $pods) -}}
{{- end -}}
{{- min 10 $share -}}
{{- end -}}
{{- end }}

{{/* What the chart writes; the value `config` goes over it. Addresses are all interfaces: the NetworkPolicy says who gets in. */}}
{{- define "otlp.config" -}}
{{- $refs := include "otlp.references" . | fromYaml -}}
{{- $store := dict "url" ($refs.store.url | default "") -}}
{{- $file := printf "/etc/otlp-rust/secrets/%s" ($refs.store.file | default "") -}}
{{- if eq $refs.store.scheme "s3" -}}
  {{- $s3 := dict -}}
  {{- with $refs.store.endpoint }}{{ $_ := set $s3 "endpoint" . }}{{ end -}}
  {{- with .Values.store.s3.region }}{{ $_ := set $s3 "region" . }}{{ end -}}
  {{- if or .Values.store.s3.allowHttp $refs.store.trial }}{{ $_ := set $s3 "allow_http" true }}{{ end -}}
  {{- if .Values.store.s3.virtualHostedStyle }}{{ $_ := set $s3 "virtual_hosted_style" true }}{{ end -}}
  {{- if $refs.store.secret }}{{ $_ := set $s3 "secret_access_key_file" $file }}{{ end -}}
  {{- if $s3 }}{{ $_ := set $store "s3" $s3 }}{{ end -}}
{{- else if eq $refs.store.scheme "gs" -}}
  {{- if $refs.store.secret }}{{ $_ := set $store "gcs" (dict "service_account_path" $file) }}{{ end -}}
{{- else if eq $refs.store.scheme "az" -}}
  {{- $azure := dict "account" .Values.store.azure.account -}}
  {{- if $refs.store.secret }}{{ $_ := set $azure "access_key_file" $file }}{{ end -}}
  {{- $_ := set $store "azure" $azure -}}
{{- end -}}
{{- $config := dict
  "server" (dict
    "otlp_grpc" "0.0.0.0:4317"
    "otlp_http" "0.0.0.0:4318"
    "http" "0.0.0.0:8080"
    "admin" "0.0.0.0:9090"
    "shutdown_timeout" .Values.drain.shutdownTimeout)
  "store" $store
  "catalog" (dict
    "url_file" "/etc/otlp-rust/secrets/catalog-url"
    "max_connections" (include "otlp.maxConnections" . | int))
  "retention" (deepCopy .Values.retention)
  "log" (dict "level" .Values.log.level "format" .Values.log.format)
-}}
{{- /* Where Kubernetes cannot wait before it ends a pod, the process does. */ -}}
{{- if and .Values.drain.preStopSeconds (not (include "otlp.preStop" .)) -}}
  {{- $_ := set $config.server "drain_delay" (printf "%vs" .Values.drain.preStopSeconds) -}}
{{- end -}}
{{- if .Values.sizing.enabled }}{{ $_ := set $config.retention "default" .Values.sizing.retention }}{{ end -}}
{{- if $refs.redis -}}
  {{- $_ := set $config "redis" (dict "url_file" "/etc/otlp-rust/secrets/redis-url" "prefix" .Values.redis.prefix) -}}
{{- end -}}
{{- if .Values.postgresWire.enabled -}}
  {{- $_ := set $config "postgres_wire" (dict "enabled" true "listen" "0.0.0.0:5433") -}}
{{- end -}}
{{- toYaml (mustMergeOverwrite $config (deepCopy .Values.config)) -}}
{{- end }}
