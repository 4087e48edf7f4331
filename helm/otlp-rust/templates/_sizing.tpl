{{/*
From load and retention to sizes. Half of each rate of benches/results/third-run.json is planned with, rounded down, because it was measured
on local disk, without TLS and without a sidecar.

  items per core and second          spans    log records      samples
  received and compacted           160,000        190,000    1,362,000
  received only                    273,000        350,000    2,127,000
  compacted only                   385,000        418,000    3,780,000

  cores    = sum of items a second / items per core and second
  pods     = cores / (podCpu x 0.7), rounded up: at the peak, pods are as busy as the autoscaler wants them
  fewest   = pods of the average load + 1, at least 2: one may fail
  at first = pods of the peak, at least 3
  most     = twice the pods of the peak, at most maxPods
  memory   = bytes a second and pod (503 B a span, 299 B a log record, 61 B a sample, decompressed)
             x 3 (a request takes three times its size) x 1 s (until its commit has ended) x 4 (pending requests have a quarter)
             + 204 MiB or / 0.8, as the process plans, in steps of 256 MiB
  queries  = (concurrentQueries / query.concurrency, rounded up) + 1 pods, with split roles; nothing was measured for them
  store    = bytes at rest (33 B a span, 28 B a log record, 0.8 B a sample) x retention x 1.1
*/}}
{{- define "otlp.sizing" -}}
{{- $s := .Values.sizing -}}
{{- $usable := mulf (float64 $s.podCpu) 0.7 -}}
{{- $bytes := addf (mulf (float64 $s.spansPerSecond) 503) (mulf (float64 $s.logRecordsPerSecond) 299) (mulf (float64 $s.samplesPerSecond) 61) -}}
{{- $rates := dict
  "all" (list 160000 190000 1362000)
  "ingest" (list 273000 350000 2127000)
  "compact" (list 385000 418000 3780000) -}}
{{- $parts := ternary (list "ingest" "compact") (list "all") .Values.roles.split -}}
{{- range $part := $parts }}
{{- $rate := get $rates $part -}}
{{- $cores := addf
  (divf (float64 $s.spansPerSecond) (index $rate 0))
  (divf (float64 $s.logRecordsPerSecond) (index $rate 1))
  (divf (float64 $s.samplesPerSecond) (index $rate 2)) -}}
{{- $average := divf $cores $usable | ceil | int -}}
{{- $peak := divf (mulf $cores (float64 $s.peakFactor)) $usable | ceil | int -}}
{{- $floor := ternary 2 3 (eq $part "compact") -}}
{{- $replicas := max $floor $peak | int -}}
{{- if gt $replicas (int $s.maxPods) -}}
{{- fail (printf "sizing: this load needs %d pods of %v cores (%s) at its peak, this profile is meant for %v at most: take the next larger profile (values-medium.yaml, values-large.yaml), or raise sizing.podCpu or sizing.maxPods" $replicas $s.podCpu $part $s.maxPods) -}}
{{- end }}
{{ $part }}:
  replicaCount: {{ $replicas }}
  minReplicas: {{ min $replicas (max 2 (add $average 1)) }}
  maxReplicas: {{ max $replicas (min (int $s.maxPods) (max (add $replicas 2) (mul 2 $peak))) }}
  memoryMiB: {{ include "otlp.sizing.memory" (dict "bytes" (ternary $bytes 0.0 (ne $part "compact")) "factor" $s.peakFactor "pods" $replicas "least" $s.podMemoryMiB) }}
{{- end }}
{{- if .Values.roles.split }}
{{- $concurrency := dig "query" "concurrency" 8 .Values.config }}
{{- $pods := divf (float64 $s.concurrentQueries) (float64 $concurrency) | ceil | int }}
query:
  # Each pod runs query.concurrency queries at a time, and one may fail.
  replicaCount: {{ min (int $s.maxPods) (max 2 (add $pods 1)) }}
  minReplicas: 2
  maxReplicas: {{ min (int $s.maxPods) (max 4 (mul 2 $pods)) }}
  memoryMiB: {{ $s.podMemoryMiB }}
{{- end }}
{{- $atRest := addf (mulf (float64 $s.spansPerSecond) 33) (mulf (float64 $s.logRecordsPerSecond) 28) (mulf (float64 $s.samplesPerSecond) 0.8) }}
storeGiB: {{ divf (mulf $atRest (include "otlp.seconds" $s.retention | float64) 1.1) 1073741824 | ceil | int64 }}
{{- end }}

{{- define "otlp.sizing.memory" -}}
{{- $plan := divf (mulf .bytes (float64 .factor) 12) (float64 .pods) 1048576 -}}
{{- $needed := maxf (float64 .least) (addf $plan 204) (divf $plan 0.8) -}}
{{- mul 256 (divf $needed 256 | ceil | int) -}}
{{- end }}

{{/* The Deployments that there are: name, component, argument of --role, sizes. `most` is how many pods there can be. */}}
{{- define "otlp.roles" -}}
{{- $v := .Values -}}
{{- $sizes := dict -}}
{{- if $v.sizing.enabled }}{{ $sizes = include "otlp.sizing" . | fromYaml }}{{ end -}}
{{- $roles := list -}}
{{- range $component := ternary (list "ingest" "query" "compact") (list "all") $v.roles.split -}}
  {{- $own := get $v.roles $component | default dict -}}
  {{- $role := dict
    "component" $component
    "name" (ternary (printf "%s-%s" (include "otlp.name" $) $component) (include "otlp.name" $) $v.roles.split)
    "replicaCount" (hasKey $own "replicaCount" | ternary $own.replicaCount $v.replicaCount)
    "resources" ($own.resources | default $v.resources)
    "autoscaling" (mustMergeOverwrite (deepCopy $v.autoscaling) (deepCopy ($own.autoscaling | default dict)))
    "nodeSelector" ($own.nodeSelector | default $v.nodeSelector)
    "tolerations" ($own.tolerations | default $v.tolerations)
    "affinity" ($own.affinity | default $v.affinity)
    "priorityClassName" ($own.priorityClassName | default $v.priorityClassName)
  -}}
  {{- with get $sizes $component -}}
    {{- $_ := set $role "replicaCount" (int .replicaCount) -}}
    {{- $_ := set $role.autoscaling "minReplicas" (int .minReplicas) -}}
    {{- $_ := set $role.autoscaling "maxReplicas" (int .maxReplicas) -}}
    {{- $memory := printf "%dMi" (int .memoryMiB) -}}
    {{- $milli := mulf (float64 $v.sizing.podCpu) 1000 | int -}}
    {{- $_ := set $role "resources" (dict
      "requests" (dict "cpu" (printf "%dm" $milli) "memory" $memory)
      "limits" (dict "cpu" (printf "%dm" (mul 2 $milli)) "memory" $memory)) -}}
  {{- end -}}
  {{- $_ := set $role "most" (ternary $role.autoscaling.maxReplicas ($role.replicaCount | default 1) $role.autoscaling.enabled | int) -}}
  {{- $roles = append $roles $role -}}
{{- end -}}
{{- toYaml (dict "roles" $roles) -}}
{{- end }}
