{{/*
The rules of both Roles. No verb here changes or deletes a Secret: no bug, race or second leader of ours can then
overwrite or lose a key that is registered at an EHR.
*/}}
{{- define "hearthgate.rules.read" -}}
- apiGroups: [hearthgate.dev]
  resources: [activations, dataadapters, fhirgateways, smartapps]
  verbs: [get, list, watch]
# Kubernetes cannot select by label here. Only Secrets and ConfigMaps with the label hearthgate.dev/use are asked for.
- apiGroups: [""]
  resources: [configmaps, secrets]
  verbs: [get, list, watch]
{{- end -}}

{{- define "hearthgate.rules.operator" -}}
{{ include "hearthgate.rules.read" . }}
- apiGroups: [hearthgate.dev]
  resources: [activations/status, dataadapters/status, fhirgateways/status, smartapps/status]
  verbs: [patch]
{{- if .Values.keys.create }}
# New key pairs.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
{{- end }}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
