{{- define "gunicorn-prometheus-exporter.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The scheme of URLs. */}}
{{- define "gunicorn-prometheus-exporter.scheme" -}}
{{- if .Values.tlsSecret }}https{{ else }}http{{ end -}}
{{- end }}

{{/* Which port: that of the settings, or the default. */}}
{{- define "gunicorn-prometheus-exporter.port" -}}
{{- .Values.settings.PROMETHEUS_METRICS_PORT | default 9091 | int -}}
{{- end }}
