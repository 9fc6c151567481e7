"""What a test asks of the rules for webhooks."""

from ipaddress import ip_address

from streams.webhooks.targets import Targets


def allows(targets: Targets, address: str, port: int = 443) -> bool:
    """Whether a webhook may be sent to an IP address."""
    return targets.objection(ip_address(address), port) is None
