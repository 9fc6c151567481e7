"""Settings, read from the environment (or `.env`) once, at the start of a process.

One module per process: `services` (all), `requests` and `webhooks` (ingest and worker), `ingest`, `worker`,
`analytics`. A field `x` is the variable `HEADRACE_X`; those of the providers keep the names of their SDKs.
`docs/configuration.md` explains each one.
"""

from streams.settings.analytics import REQUEST_DAYS, TEXT_DAYS, TenantRules
from streams.settings.services import ApiKey
from streams.settings.settings import Settings, load_settings
from streams.settings.worker import InjectionSource

__all__ = [
    "REQUEST_DAYS",
    "TEXT_DAYS",
    "ApiKey",
    "InjectionSource",
    "Settings",
    "TenantRules",
    "load_settings",
]
