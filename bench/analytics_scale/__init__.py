"""How fast the catalogue answers on 10^7 requests; run it as ``python -m bench.analytics_scale``."""
