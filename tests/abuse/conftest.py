"""One running system for the folder, which knows the witness beside whom everything hostile is done."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.abuse.setting import ENVIRON
from tests import parts
from tests.acceptance.conftest import System, started

SEED = 11
"""Of everything that is random here."""


@pytest.fixture(scope="session")
def system(request: pytest.FixtureRequest) -> Iterator[System]:
    """A running Headrace on its own embedded parts: what is done to them is nothing for a shared broker.

    Its folder is one that everybody can reach, for `test_local_user`. It stays where a test has failed.
    """
    if parts.source()[0] != "embedded":
        pytest.skip("hostile records are for brokers of their own: HEADRACE_TEST_PARTS=embedded")
    around = Path(tempfile.mkdtemp(prefix="headrace-abused-"))
    around.chmod(0o755)
    umask = os.umask(0)  # the worst that a user may have set
    try:
        with started(around / "home", "--no-demo", environ=ENVIRON) as running:
            os.umask(umask)
            yield running
    finally:
        os.umask(umask)
    if not request.session.testsfailed:
        shutil.rmtree(around)
