"""What tests of the embedded parts share."""

from functools import partialmethod

import pytest

from headrace.embedded.data_dir import DataDirLock


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a folder in use be waited for only shortly: in service a holder has six seconds to end."""
    monkeypatch.setattr(DataDirLock, "acquire", partialmethod(DataDirLock.acquire, wait_s=0.3))
