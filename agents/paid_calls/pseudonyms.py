"""Stable names for users that tell a provider nothing about who they are."""

import hashlib

from streams.events import Envelope

_CHARS = 32


def hashed_user(envelope: Envelope) -> str:
    """Return the name that providers get for the request's user."""
    return pseudonym(envelope.tenant, envelope.user_id)


def pseudonym(tenant: str, name: str) -> str:
    """Return a hash of a tenant's name for somebody."""
    return hashlib.sha256(f"{tenant}\x00{name}".encode()).hexdigest()[:_CHARS]
