{{/* Parts of NetworkPolicies that the platform and the migration share; certificates of Ingress objects. */}}

{{/* The entries of ingress.tls that hold for a host: those that name it or its wildcard, or no host at all. Takes root, host. */}}
{{- define "otlp.ingress.tls" -}}
{{- $names := list .host (regexReplaceAll "^[^.]+" .host "*") -}}
{{- $host := .host -}}
{{- range .root.Values.ingress.tls }}
{{- $it := . }}
{{- $holds := not .hosts }}
{{- range $names }}{{ if has . ($it.hosts | default list) }}{{ $holds = true }}{{ end }}{{ end }}
{{- if $holds }}
- hosts: [{{ $host | quote }}]
  {{- with .secretName }}
  secretName: {{ . }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "otlp.egress.dns" -}}
- to:
    {{- toYaml .Values.networkPolicy.egress.dns | nindent 4 }}
  ports:
    - protocol: UDP
      port: 53
    - protocol: TCP
      port: 53
{{- end }}

{{/* One rule: to given peers, to a pod of the trial, or to anywhere, but only to one port. Takes root, to, port, trial. */}}
{{- define "otlp.egress.to" -}}
- ports:
    - protocol: TCP
      port: {{ .port }}
  {{- if .trial }}
  to:
    - podSelector:
        matchLabels:
          {{- include "otlp.trial.selector" (dict "root" .root "part" .trial) | nindent 10 }}
  {{- else if .to }}
  to:
    {{- toYaml .to | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "otlp.egress.catalog" -}}
{{- $refs := include "otlp.references" . | fromYaml -}}
{{- $catalog := .Values.networkPolicy.egress.catalog -}}
{{- if $refs.catalog.trial -}}
{{- include "otlp.egress.to" (dict "root" . "port" 5432 "trial" "postgresql") -}}
{{- else -}}
{{- include "otlp.egress.to" (dict "root" . "port" $catalog.port "to" $catalog.to) -}}
{{- end -}}
{{- end }}

{{- define "otlp.storePort" -}}
{{- $url := urlParse (.Values.store.s3.endpoint | default "https://none") -}}
{{- .Values.networkPolicy.egress.store.port | default (regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host)) | default (ternary 80 443 (eq $url.scheme "http")) -}}
{{- end }}

{{/* To the control plane of the mesh, for the proxy beside the process. */}}
{{- define "otlp.egress.mesh" -}}
{{- if and .Values.istio.enabled (eq .Values.istio.dataPlane "sidecar") }}
# istiod.
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: istio-system
  ports:
    - protocol: TCP
      port: 15012
{{- else if .Values.linkerd.enabled }}
# Linkerd's destinations, identity and policy.
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: linkerd
  ports:
    - protocol: TCP
      port: 8080
    - protocol: TCP
      port: 8086
    - protocol: TCP
      port: 8090
{{- end }}
{{- end }}
