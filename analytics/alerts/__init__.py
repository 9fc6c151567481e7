"""Alerts: windows of requests are judged against earlier days; changes go to `llm.alerts.v1`.

Begin with `watcher`; `anomalies` judges, `alert_states` decides, `alert_log` writes the topic.
"""
