"""The Grafana dashboard of the chart, as code: `python -m helm.dashboard` writes its file anew."""
