{{- define "hearthgate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "hearthgate.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "hearthgate.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "hearthgate.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "hearthgate.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: {{ include "hearthgate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* What Services, policies and budgets select by. Takes a list: context, component. */}}
{{- define "hearthgate.selector" -}}
{{- $context := index . 0 -}}
app.kubernetes.io/name: {{ include "hearthgate.name" $context }}
app.kubernetes.io/instance: {{ $context.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Takes a list: context, component. */}}
{{- define "hearthgate.serviceAccount" -}}
{{- $context := index . 0 -}}
{{- $component := index . 1 -}}
{{- $values := index $context.Values $component -}}
{{- if $values.serviceAccount.create -}}
{{- default (printf "%s-%s" (include "hearthgate.fullname" $context) $component) $values.serviceAccount.name -}}
{{- else -}}
{{- required (printf "%s.serviceAccount.name: give the name of the ServiceAccount, or let the chart create one" $component) $values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "hearthgate.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{/* Whether replicas of the proxy share a store. */}}
{{- define "hearthgate.sharedStore" -}}
{{- if or .Values.store.url .Values.store.urlSecretRef.name -}}true{{- end -}}
{{- end -}}

{{/* What operator and proxy must both be told, so that they compile the same snapshot. */}}
{{- define "hearthgate.platformArguments" -}}
- --admin-listen=0.0.0.0:9090
- --public-url={{ required "publicUrl: give the URL at which apps and EHRs reach the platform, such as https://fhir.example.org" .Values.publicUrl }}
{{- range .Values.namespaces }}
- --namespace={{ . }}
{{- end }}
{{- range .Values.allowAddress }}
- --allow-address={{ . }}
{{- end }}
{{- range $host, $namespace := .Values.allowPublicHosts }}
- --allow-public-host={{ $host }}={{ $namespace }}
{{- end }}
{{- end -}}

{{/* Everything of a pod that is the same for both. Takes a list: context, component. */}}
{{- define "hearthgate.podSettings" -}}
{{- $context := index . 0 -}}
{{- $component := index . 1 -}}
{{- $values := index $context.Values $component -}}
serviceAccountName: {{ include "hearthgate.serviceAccount" . }}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
{{- with $context.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
{{- with $values.topologySpreadConstraints }}
  {{- toYaml . | nindent 2 }}
{{- else }}
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "hearthgate.selector" (list $context $component) | nindent 8 }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Everything of a container that is the same for both. Takes a list: context, component. */}}
{{- define "hearthgate.containerSettings" -}}
{{- $context := index . 0 -}}
{{- $values := index $context.Values (index . 1) -}}
image: {{ include "hearthgate.image" $context }}
imagePullPolicy: {{ $context.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
livenessProbe:
  httpGet: {path: /livez, port: admin}
  periodSeconds: 10
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 2
  failureThreshold: 2
resources:
  {{- toYaml $values.resources | nindent 2 }}
{{- end -}}

{{- define "hearthgate.environment" -}}
- name: HEARTHGATE_LOG
  value: {{ .Values.log.level | quote }}
- name: HEARTHGATE_LOG_FORMAT
  value: {{ .Values.log.format | quote }}
{{- end -}}
