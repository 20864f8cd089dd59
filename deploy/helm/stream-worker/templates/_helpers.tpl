{{- define "sw.name" -}}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{- end }}
{{- define "sw.selector" -}}
app.kubernetes.io/name: stream-worker
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}
{{- define "sw.labels" -}}
{{ include "sw.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: stream-worker
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}
{{- define "sw.image" -}}
{{ .Values.image.repository }}{{ with .Values.image.digest }}@{{ . }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}
{{- define "sw.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}
{{- define "sw.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
{{- /* `only` are the Secrets that no other kind of pod gets; `config` is the ConfigMap. */}}
{{- define "sw.mounts" -}}
- {name: config, mountPath: /etc/stream-worker, readOnly: true}
- {name: state, mountPath: /var/lib/stream-worker}
{{- range concat .root.Values.secrets .only | uniq }}
- {name: {{ printf "secret-%s" . }}, mountPath: {{ printf "/run/secrets/%s" . }}, readOnly: true}
{{- end }}
{{- end }}
{{- define "sw.volumes" -}}
- name: config
  configMap: {name: {{ .config | default (include "sw.name" .root) }}}
{{- range concat .root.Values.secrets .only | uniq }}
- name: {{ printf "secret-%s" . }}
  secret: {secretName: {{ . }}}
{{- end }}
{{- end }}
{{- /* What is no worker may sign in as somebody else. */}}
{{- define "sw.consoleConfig" -}}
/etc/stream-worker/{{ if .Values.console.settings }}console{{ else }}stream-worker{{ end }}.yaml
{{- end }}
{{- define "sw.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- define "sw.check" -}}
{{- $most := .Values.replicas }}
{{- if .Values.autoscaling.enabled }}{{ $most = .Values.autoscaling.maxReplicas }}{{ end }}
{{- if gt (int $most) (int .Values.partitions) }}
{{- fail (printf "%d workers for %d partitions: a partition belongs to one worker, so the others would stand idle; lower replicas or autoscaling.maxReplicas, or raise partitions with the topic's" (int $most) (int .Values.partitions)) }}
{{- end }}
{{- if and .Values.console.enabled (not .Values.console.tokenSecret) }}
{{- fail "the console shows conversations: name a Secret with the key `token` in console.tokenSecret" }}
{{- end }}
{{- end }}
