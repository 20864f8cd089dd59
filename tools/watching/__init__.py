"""Dashboards and rules as code; `make gen` writes deploy/grafana and deploy/prometheus from it."""
