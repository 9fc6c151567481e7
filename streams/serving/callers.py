"""Who may call: the owner of an API key, or of an OIDC token."""

from streams.control.state import ControlState
from streams.serving.api_keys import ApiKeys, Caller, required
from streams.serving.oidc import OidcTokens

#: A token is three parts; the first is a JSON object in base64, which begins with `ey`.
_TOKEN_DOTS = 2


class Callers:
    """Who may call: the owners of API keys, and of tokens. `close` when nobody is asked for any more."""

    def __init__(self, keys: ApiKeys, tokens: OidcTokens | None = None) -> None:
        self.keys = keys
        self._tokens = tokens or OidcTokens()

    def follow(self, state: ControlState) -> None:
        """Accept what these control records say."""
        self.keys.follow(state)
        self._tokens.follow(state)

    def has_tenant(self, tenant: str) -> bool:
        """Whether anybody may call for a tenant."""
        return self.keys.has_tenant(tenant) or self._tokens.has_tenant(tenant)

    async def caller(self, presented: str | None) -> Caller:
        """Return who presents this key or token; raise the 401 where neither counts."""
        given = required(presented)
        if given.startswith("ey") and given.count(".") == _TOKEN_DOTS:
            return await self._tokens.caller(given)
        return self.keys.caller(given)

    async def close(self) -> None:
        """Disconnect from issuers."""
        await self._tokens.close()
