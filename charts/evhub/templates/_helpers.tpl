{{/* The chart's name in labels. */}}
{{- define "evhub.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* What heads the names of objects; short enough for what follows. */}}
{{- define "evhub.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- $name := include "evhub.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Labels of every object. Takes (list . component). */}}
{{- define "evhub.labels" -}}
{{- $top := index . 0 }}
helm.sh/chart: {{ printf "%s-%s" $top.Chart.Name $top.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/version: {{ $top.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: evhub
app.kubernetes.io/managed-by: {{ $top.Release.Service }}
{{ include "evhub.selector" . | trim }}
{{- with $top.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels of a pod: without the chart's version, so that a new chart alone replaces no pod. Takes (list . component). */}}
{{- define "evhub.podLabels" -}}
{{- $top := index . 0 }}
app.kubernetes.io/version: {{ $top.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: evhub
{{ include "evhub.selector" . | trim }}
{{- with $top.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels that select a component's pods, for good. */}}
{{- define "evhub.selector" -}}
{{- $top := index . 0 }}
app.kubernetes.io/name: {{ include "evhub.name" $top }}
app.kubernetes.io/instance: {{ $top.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* The name of a component's service account. */}}
{{- define "evhub.serviceAccount" -}}
{{- $top := index . 0 }}{{ $component := index . 1 }}
{{- $account := (index $top.Values $component).serviceAccount }}
{{- if $account.name }}{{ $account.name }}
{{- else if $account.create }}{{ include "evhub.fullname" $top }}-{{ $component }}
{{- else }}default
{{- end }}
{{- end }}

{{/* An image's reference. Takes (list . image). */}}
{{- define "evhub.image" -}}
{{- $top := index . 0 }}{{ $image := index . 1 }}
{{- $registry := default $image.registry $top.Values.global.imageRegistry }}
{{- with $registry }}{{ . }}/{{ end }}{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default $top.Chart.AppVersion $image.tag }}{{ end }}
{{- end }}

{{- define "evhub.pullSecrets" -}}
{{- with .Values.global.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* What of a pod is as the values say. Takes a component's values. */}}
{{- define "evhub.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/* Over what pods spread, unless the values say. Takes (list . component values keys…). */}}
{{- define "evhub.spread" -}}
{{- $top := index . 0 }}{{ $component := index . 1 }}{{ $values := index . 2 }}
topologySpreadConstraints:
{{- if $values.topologySpreadConstraints }}
{{- $pods := dict "matchLabels" (include "evhub.selector" (list $top $component) | fromYaml) }}
{{- range $values.topologySpreadConstraints }}
  - {{- toYaml (ternary . (set (deepCopy .) "labelSelector" $pods) (hasKey . "labelSelector")) | nindent 4 }}
{{- end }}
{{- else }}
{{- range slice . 3 }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    nodeTaintsPolicy: Honor
    matchLabelKeys: [pod-template-hash]
    labelSelector:
      matchLabels:
        {{- include "evhub.selector" (list $top $component) | trim | nindent 8 }}
{{- end }}
{{- end }}
{{- end }}

{{/* What a container has of the values in the same way everywhere. */}}
{{- define "evhub.env" -}}
- name: EVHUB_LOG
  value: {{ .logLevel }}
{{- with .extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Whether there are client settings for Kafka, as "true" or nothing. */}}
{{- define "evhub.hasKafkaConfig" -}}
{{- $k := .Values.kafka }}
{{- if or $k.config $k.tls.enabled $k.sasl.mechanism $k.settingsSecret }}true{{ end }}
{{- end }}

{{/* The name by which dataplanes know the operator. */}}
{{- define "evhub.controlHost" -}}
{{ include "evhub.fullname" . }}-operator.{{ .Release.Namespace }}.svc
{{- end }}

{{/* The Secret with a component's certificate for the control stream; nothing where there is none. Takes (list . component). */}}
{{- define "evhub.controlSecret" -}}
{{- $top := index . 0 }}{{ $component := index . 1 }}
{{- $control := $top.Values.control }}
{{- if eq $control.certificates "Secrets" }}{{ index $control.secrets $component }}
{{- else if ne $control.certificates "None" }}{{ include "evhub.fullname" $top }}-{{ $component }}-control
{{- end }}
{{- end }}

{{/* The ports of the brokers, as a JSON list. */}}
{{- define "evhub.kafkaPorts" -}}
{{- $ports := list }}
{{- range splitList "," .Values.kafka.bootstrap }}
{{- $ports = append $ports (regexFind "[0-9]+$" (trim .) | int) }}
{{- end }}
{{- range .Values.networkPolicy.kafkaPorts }}
{{- $ports = append $ports (int .) }}
{{- end }}
{{- $ports | uniq | toJson }}
{{- end }}

{{/* What the schema cannot say. */}}
{{- define "evhub.check" -}}
{{- $k := .Values.kafka }}
{{- if not $k.bootstrap }}
{{- fail "kafka.bootstrap: say where the brokers are, as HOST:PORT with commas between" }}
{{- end }}
{{- if and $k.sasl.mechanism (not $k.sasl.secret) (not $k.settingsSecret) }}
{{- fail "kafka.sasl.secret: name the Secret that holds the password" }}
{{- end }}
{{- if and $k.tls.client.secret (not $k.tls.enabled) }}
{{- fail "kafka.tls.client.secret: a client's certificate is of no use without kafka.tls.enabled" }}
{{- end }}
{{- with .Values.control }}
{{- if and (eq .certificates "Secrets") (not (and .secrets.operator .secrets.dataplane)) }}
{{- fail "control.secrets: name the operator's Secret and the dataplane's" }}
{{- end }}
{{- end }}
{{- range $name, $_ := $k.config }}
{{- if regexMatch "(password|jaas|secret)" $name }}
{{- fail (printf "kafka.config: %s is a secret: put it into a Secret, and name that in kafka.settingsSecret" $name) }}
{{- end }}
{{- end }}
{{- if and .Values.dataplane.autoscaling.enabled (lt (int .Values.dataplane.autoscaling.maxReplicas) (int .Values.dataplane.autoscaling.minReplicas)) }}
{{- fail "dataplane.autoscaling: maxReplicas is less than minReplicas" }}
{{- end }}
{{- if and .Values.dataplane.httpRoute.enabled (not .Values.dataplane.httpRoute.parentRefs) }}
{{- fail "dataplane.httpRoute.parentRefs: name a gateway" }}
{{- end }}
{{- if and .Values.dataplane.grpcRoute.enabled (not .Values.dataplane.grpcRoute.parentRefs) }}
{{- fail "dataplane.grpcRoute.parentRefs: name a gateway" }}
{{- end }}
{{- end }}

{{/* The Lease of the operator that leads. */}}
{{- define "evhub.leaseName" -}}
{{ include "evhub.fullname" . }}-operator
{{- end }}

{{/* Where applications publish over HTTP. */}}
{{- define "evhub.publishUrl" -}}
{{- $port := int .Values.dataplane.service.httpPort -}}
http://{{ include "evhub.fullname" . }}-dataplane.{{ .Release.Namespace }}.svc{{ if ne $port 80 }}:{{ $port }}{{ end }}
{{- end }}
