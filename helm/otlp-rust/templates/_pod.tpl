{{/* Seconds from the end's beginning until the process has answered everybody. */}}
{{- define "otlp.drainSeconds" -}}
{{- add .Values.drain.preStopSeconds (include "otlp.seconds" .Values.drain.shutdownTimeout) -}}
{{- end }}

{{/* Whether Kubernetes waits before it ends a pod: it can since 1.30. Before, the configuration makes the process wait. */}}
{{- define "otlp.preStop" -}}
{{- if and (gt (int .Values.drain.preStopSeconds) 0) (semverCompare ">=1.30-0" (include "otlp.kubeVersion" .)) }}true{{ end -}}
{{- end }}

{{/* The pod of one role. Takes root and role. */}}
{{- define "otlp.pod" -}}
{{- $root := .root -}}
{{- $v := $root.Values -}}
{{- $role := .role -}}
{{- $refs := include "otlp.references" $root | fromYaml -}}
metadata:
  labels:
    {{- include "otlp.selectorLabels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ $role.component }}
    app.kubernetes.io/version: {{ $v.image.tag | default $root.Chart.AppVersion | quote }}
    # Meshes and their dashboards go by these two.
    app: {{ include "otlp.name" $root }}
    version: {{ $v.image.tag | default $root.Chart.AppVersion | quote }}
    {{- if and $v.istio.enabled (eq $v.istio.dataPlane "sidecar") }}
    sidecar.istio.io/inject: "true"
    {{- else if $v.istio.enabled }}
    istio.io/dataplane-mode: ambient
    {{- end }}
    {{- with merge (dict) $v.podLabels $v.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # Pods are replaced when their configuration changes.
    checksum/config: {{ include "otlp.config" $root | sha256sum }}
    kubectl.kubernetes.io/default-container: otlp-rust
    {{- if and $v.istio.enabled (eq $v.istio.dataPlane "sidecar") }}
    # The proxy is there before the process and goes after it has drained. 9090 is scraped past it.
    proxy.istio.io/config: |
      holdApplicationUntilProxyStarts: true
      terminationDrainDuration: {{ include "otlp.drainSeconds" $root }}s
    {{- end }}
    {{- if $v.linkerd.enabled }}
    linkerd.io/inject: enabled
    config.alpha.linkerd.io/proxy-wait-before-exit-seconds: {{ include "otlp.drainSeconds" $root | quote }}
    {{- with $v.linkerd.skipOutboundPorts }}
    config.linkerd.io/skip-outbound-ports: {{ . | quote }}
    {{- end }}
    {{- end }}
    {{- with merge (dict) $v.podAnnotations $v.commonAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "otlp.serviceAccountName" $root }}
  automountServiceAccountToken: {{ $v.serviceAccount.automountToken }}
  # Nothing is found through the environment, so nothing is put there.
  enableServiceLinks: false
  {{- with $v.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $role.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $v.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with $v.podSecurityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  # What balancers need to notice, what accepted requests may take, what the last answers take, and some more.
  terminationGracePeriodSeconds: {{ add (include "otlp.drainSeconds" $root) 5 }}
  containers:
    - name: otlp-rust
      image: {{ include "otlp.image" $root }}
      imagePullPolicy: {{ $v.image.pullPolicy }}
      args:
        - serve
        - --config
        - /etc/otlp-rust/config.yaml
        {{- if $v.roles.split }}
        - --role
        - {{ $role.component }}
        {{- end }}
      {{- if or $refs.store.idKey $v.extraEnv }}
      env:
        {{- if $refs.store.idKey }}
        # An identifier, no secret: the configuration has no file for it, and it comes with its secret.
        - name: OTLP_RUST__STORE__S3__ACCESS_KEY_ID
          valueFrom:
            secretKeyRef:
              name: {{ $refs.store.secret }}
              key: {{ $refs.store.idKey }}
        {{- end }}
        {{- with $v.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
      ports:
        {{- include "otlp.containerPorts" . | nindent 8 }}
      startupProbe:
        httpGet:
          path: /readyz
          port: 8080
        {{- toYaml $v.probes.startup | nindent 8 }}
      livenessProbe:
        httpGet:
          path: /livez
          port: 8080
        {{- toYaml $v.probes.liveness | nindent 8 }}
      readinessProbe:
        httpGet:
          path: /readyz
          port: 8080
        {{- toYaml $v.probes.readiness | nindent 8 }}
      {{- if include "otlp.preStop" $root }}
      # Balancers go on sending for some seconds: the pod still takes it. The image has no shell to sleep with, so Kubernetes does.
      lifecycle:
        preStop:
          sleep:
            seconds: {{ $v.drain.preStopSeconds }}
      {{- end }}
      resources:
        {{- toYaml $role.resources | nindent 8 }}
      {{- with $v.securityContext }}
      securityContext:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        - name: etc
          mountPath: /etc/otlp-rust
          readOnly: true
        {{- with $v.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with $v.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $v.initContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumes:
    # Of each Secret only the key that is needed, readable by the process alone.
    - name: etc
      projected:
        defaultMode: 0440
        sources:
          - configMap:
              name: {{ include "otlp.name" $root }}-config
          {{- include "otlp.secretSources" $refs | nindent 10 }}
    {{- with $v.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- if $v.topologySpread.enabled }}
  topologySpreadConstraints:
    {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: {{ $v.topologySpread.whenUnsatisfiable }}
      labelSelector:
        matchLabels:
          {{- include "otlp.selectorLabels" $root | nindent 10 }}
          app.kubernetes.io/component: {{ $role.component }}
      # Each roll-out is spread by itself, not around the pods that it replaces.
      matchLabelKeys: [pod-template-hash]
    {{- end }}
  {{- end }}
  {{- with $role.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $role.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $role.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/*
Ports by name: the Service goes by names, so that with split roles each of its ports leads only to the pods that have it. Port 8080
of pods that answer no queries has another name for that reason.
*/}}
{{- define "otlp.containerPorts" -}}
{{- if has .role.component (list "all" "ingest") -}}
- name: otlp-grpc
  containerPort: 4317
- name: otlp-http
  containerPort: 4318
{{ end -}}
- name: {{ has .role.component (list "all" "query") | ternary "http" "health" }}
  containerPort: 8080
- name: metrics
  containerPort: 9090
{{- if and .root.Values.postgresWire.enabled (has .role.component (list "all" "query")) }}
- name: postgres
  containerPort: 5433
{{- end }}
{{- end }}

{{/* The files below /etc/otlp-rust/secrets. Takes the references. */}}
{{- define "otlp.secretSources" -}}
- secret:
    name: {{ .catalog.secret }}
    items:
      - key: {{ .catalog.key }}
        path: secrets/catalog-url
{{- if .redis }}
- secret:
    name: {{ .redis.secret }}
    items:
      - key: {{ .redis.key }}
        path: secrets/redis-url
{{- end }}
{{- if .store.secret }}
- secret:
    name: {{ .store.secret }}
    items:
      - key: {{ .store.key }}
        path: secrets/{{ .store.file }}
{{- end }}
{{- end }}
