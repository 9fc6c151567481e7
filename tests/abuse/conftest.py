"""The running system, shared by the folder."""

from tests.acceptance.conftest import system

__all__ = ["system"]
