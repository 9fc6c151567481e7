"""Makes the Grafana dashboards beside it from the query catalogue: `python -m deploy.grafana.generate`.

Begin reading at `dashboards.DASHBOARDS`: which panel shows which query.
"""
