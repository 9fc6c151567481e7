"""One running system for the folder."""

from tests.acceptance.conftest import system

__all__ = ["system"]
