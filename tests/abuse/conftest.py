"""One running system for the folder, which knows the witness beside whom everything hostile is done."""

from collections.abc import Iterator

import pytest

from bench.abuse.setting import ENVIRON
from tests import parts
from tests.acceptance.conftest import System, started

SEED = 11
"""Of everything that is random here."""


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A running Headrace on its own embedded parts: what is done to them is nothing for a shared broker."""
    if parts.source()[0] != "embedded":
        pytest.skip("hostile records are for brokers of their own: HEADRACE_TEST_PARTS=embedded")
    data_dir = tmp_path_factory.mktemp("abused") / "home"
    with started(data_dir, "--no-demo", environ=ENVIRON) as running:
        yield running
