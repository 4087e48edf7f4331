{{/* Names and labels. Names are those of the deployment guide, whatever the release is called. */}}

{{- define "otlp.name" -}}
{{- .Values.fullnameOverride | default "otlp-service" | trunc 52 | trimSuffix "-" -}}
{{- end }}

{{- define "otlp.networkPolicyName" -}}
{{- .Values.fullnameOverride | default "otlp" | trunc 52 | trimSuffix "-" -}}-network-policy
{{- end }}

{{- define "otlp.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (printf "%s-account" (include "otlp.name" .)) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end }}

{{/* What selects all pods of the platform, and none of the trial's or of hooks. */}}
{{- define "otlp.selectorLabels" -}}
app.kubernetes.io/name: otlp-rust
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: {{ include "otlp.name" . }}
{{- end }}

{{- define "otlp.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: {{ include "otlp.name" . }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* metadata of an object. Takes root, name, and optionally component, annotations, labels, appName. */}}
{{- define "otlp.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  app.kubernetes.io/name: {{ .appName | default "otlp-rust" }}
  {{- with .component }}
  app.kubernetes.io/component: {{ . }}
  {{- end }}
  {{- include "otlp.labels" .root | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "otlp.image" -}}
{{- $image := .Values.image -}}
{{- with $image.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- $image.repository -}}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default .Chart.AppVersion }}{{ end -}}
{{- end }}

{{/* The cluster's version without what a provider adds to it. */}}
{{- define "otlp.kubeVersion" -}}
{{- regexFind "[0-9]+\\.[0-9]+(\\.[0-9]+)?" (.Values.kubeVersion | default .Capabilities.KubeVersion.Version) -}}
{{- end }}

{{/* Whether the pods have a sidecar that counts into their CPU and memory. */}}
{{- define "otlp.sidecar" -}}
{{- if or (and .Values.istio.enabled (eq .Values.istio.dataPlane "sidecar")) .Values.linkerd.enabled }}true{{ end -}}
{{- end }}

{{/* A duration such as 1m30s in whole seconds, rounded up. */}}
{{- define "otlp.seconds" -}}
{{- $unit := dict "ns" 0.000000001 "us" 0.000001 "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0 -}}
{{- $sum := 0.0 -}}
{{- range regexFindAll "[0-9]+(ns|us|ms|s|m|h|d)" (toString .) -1 -}}
{{- $sum = addf $sum (mulf (float64 (regexFind "^[0-9]+" .)) (get $unit (regexFind "[a-z]+$" .))) -}}
{{- end -}}
{{- ceil $sum | int64 -}}
{{- end }}

{{/* Whether an Ingress for gRPC is Kong's, which is told by annotations of the Ingress and of the Service. */}}
{{- define "otlp.kongIngress" -}}
{{- if and .Values.ingress.enabled (eq .Values.ingress.className "kong") .Values.ingress.otlpGrpc.host }}true{{ end -}}
{{- end }}

{{/* Whether gRPC has a Service of its own. */}}
{{- define "otlp.grpcOnly" -}}
{{- if or .Values.service.grpcOnly.enabled (include "otlp.kongIngress" .) }}true{{ end -}}
{{- end }}

{{/* The Service that gRPC routes lead to. */}}
{{- define "otlp.grpcService" -}}
{{- include "otlp.name" . }}{{ if include "otlp.grpcOnly" . }}-grpc{{ end -}}
{{- end }}
