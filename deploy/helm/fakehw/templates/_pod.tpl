{{/* What the containers have in common, said once. */}}
{{- define "fakehw.image" -}}
image: {{ printf "%s:%s" .Values.image.repository .Values.image.tag }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}

{{- define "fakehw.topology" -}}
{{- if .Values.topology }}{{ toYaml .Values.topology }}{{ else }}{{ .Files.Get "files/topology.yaml" | trimSuffix "\n" }}{{ end }}
{{- end }}

{{/* The name ends in a hash of the content, so that another topology rolls the DaemonSet. */}}
{{- define "fakehw.topologyName" -}}
fakehw-topology-{{ include "fakehw.topology" . | sha256sum | trunc 10 }}
{{- end }}

{{- define "fakehw.selinux" -}}
{{- if or .Values.selinux .Values.openshift }}yes{{ end }}
{{- end }}

{{/* Securing a container: a dict of root, and of the SELinux type and added capabilities, if any. */}}
{{- define "fakehw.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
  {{- with .add }}
  add: {{ toJson . }}
  {{- end }}
{{- if and .type (include "fakehw.selinux" .root) }}
seLinuxOptions: {type: {{ .type }}, level: s0}
{{- end }}
{{- end }}

{{/* Where pods go and as whom: a dict of Values, and of the account that the plugin has by DRA, if any. */}}
{{- define "fakehw.placement" -}}
automountServiceAccountToken: {{ if .account }}true{{ else }}false{{ end }}
enableServiceLinks: false
{{- if or .account .Values.openshift }}
serviceAccountName: {{ .account | default "fakehw" }}
{{- end }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The end of a volume mount, with which what is mounted on the node later is seen. */}}
{{- define "fakehw.hostMounts" -}}
{{- if .Values.hostMounts }}, mountPropagation: HostToContainer{{ end -}}
{{- end }}
