{{/* Labels of every object of the release. */}}
{{- define "calls-operator.labels" -}}
{{ include "calls-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* Labels that select the operator's pods. */}}
{{- define "calls-operator.selector" -}}
app.kubernetes.io/name: calls-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Name of the release's objects. */}}
{{- define "calls-operator.name" -}}
{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Names of cluster-wide objects carry the namespace, so that two releases do not share them. */}}
{{- define "calls-operator.clusterName" -}}
{{ printf "%s-%s" .Release.Namespace .Release.Name }}
{{- end }}

{{/* The image references; the default tag is the chart's appVersion. */}}
{{- define "calls-operator.image" -}}
{{ .Values.operator.image | default (printf "localhost/calls-operator:%s" .Chart.AppVersion) }}
{{- end }}
{{- define "calls-operator.sfuImage" -}}
{{ .Values.sfu.image | default (printf "localhost/calls-sfu:%s" .Chart.AppVersion) }}
{{- end }}
{{- define "calls-operator.directorImage" -}}
{{ .Values.director.image | default (printf "localhost/calls-director:%s" .Chart.AppVersion) }}
{{- end }}

{{/* Where the Lease is. */}}
{{- define "calls-operator.leaseNamespace" -}}
{{ .Values.operator.leaseNamespace | default .Release.Namespace }}
{{- end }}

{{/* Pod and container as Pod Security `restricted` wants them. */}}
{{- define "calls-operator.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}
{{- define "calls-operator.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}
