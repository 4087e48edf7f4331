{{/* One PostgreSQL, Redis or S3 store each, for trials. */}}

{{- define "otlp.trial.selector" -}}
app.kubernetes.io/name: otlp-rust-{{ .part }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{/* The parts that are needed: what is given elsewhere is left out. */}}
{{- define "otlp.trial.parts" -}}
{{- $refs := include "otlp.references" . | fromYaml -}}
{{- $parts := dict -}}
{{- $name := include "otlp.name" . -}}
{{- if $refs.catalog.trial -}}
{{- /* initdb wants a user that the image knows. */ -}}
{{- $_ := set $parts "postgresql" (dict "port" 5432 "values" .Values.trial.postgresql "data" "/var/lib/postgresql/data" "user" 70) -}}
{{- end -}}
{{- if $refs.redis.trial -}}
{{- $_ := set $parts "redis" (dict "port" 6379 "values" .Values.trial.redis "user" 65532) -}}
{{- end -}}
{{- if $refs.store.trial -}}
{{- $_ := set $parts "s3" (dict "port" 9000 "values" .Values.trial.s3 "data" "/data" "user" 65532) -}}
{{- end -}}
{{- toYaml $parts -}}
{{- end }}
