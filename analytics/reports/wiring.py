"""Puts together what analysts' questions are answered with."""

from analytics.access import analyst_keys
from analytics.api.asking import Analysts
from analytics.reports.catalogue import Catalogue
from analytics.reports.query_service import QueryService
from analytics.reports.query_slots import QuerySlots
from analytics.reports.reader import AnalystReader, ReaderLimits
from streams.settings import Settings


def analysts_of_settings(settings: Settings) -> Analysts:
    """Return them; nothing is connected before the first question.

    Raises:
        ConfigurationError: the reader's URL is not one, a key is not good, or a query's file is not in its
            format.
    """
    admin_key = settings.admin_key
    return Analysts(
        service=QueryService(
            Catalogue.load(), _reader(settings), QuerySlots(running=settings.analyst_queries)
        ),
        keys=analyst_keys(settings.keys, admin_key.get_secret_value() if admin_key else None),
    )


def _reader(settings: Settings) -> AnalystReader | None:
    if settings.clickhouse_reader_url is None:
        return None
    limits = ReaderLimits(
        timeout_s=settings.analyst_timeout_s,
        result_rows=settings.analyst_result_rows,
        result_bytes=settings.analyst_result_bytes,
        memory_bytes=settings.analyst_memory_bytes,
    )
    url = settings.clickhouse_reader_url.get_secret_value()
    return AnalystReader(url, database=settings.clickhouse_database, limits=limits)
