"""`python -m analytics.schema`: brings the ClickHouse schema up to date and exits. A deploy step.

The process waits while ClickHouse is down, and fails where the database has other migrations.
"""

import asyncio

from analytics.main import migrate
from analytics.status import SinkStatus
from streams.settings import load_settings

if __name__ == "__main__":
    asyncio.run(migrate(load_settings(), SinkStatus()))
