"""Settings, read from the environment (or `.env`) once, at the start of a process.

`fields` has every setting, one class per process; `settings` reads and checks them. A field `x` is the
variable `HEADRACE_X`; those of the providers keep the names of their SDKs. `docs/configuration.md` explains
each one.
"""

from streams.settings.fields import (
    PII_TYPES,
    REQUEST_DAYS,
    TEXT_DAYS,
    ApiKey,
    InjectionSource,
    PiiType,
    TenantRules,
)
from streams.settings.settings import Settings, load_settings

__all__ = [
    "PII_TYPES",
    "REQUEST_DAYS",
    "TEXT_DAYS",
    "ApiKey",
    "InjectionSource",
    "PiiType",
    "Settings",
    "TenantRules",
    "load_settings",
]
