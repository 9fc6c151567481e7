"""Grafana dashboards, made from the query catalogue: `python -m headrace.grafana FOLDER` writes them."""
