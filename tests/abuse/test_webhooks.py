"""Webhooks as a way in: into our own services, and into the operator's network."""

import socket
import uuid
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from streams.webhooks.targets import Network
from tests import parts
from tests.acceptance.conftest import System, unique, wait_for
from tests.acceptance.test_audit import audit, now, produce
from tests.acceptance.test_webhooks import dead
from tests.fakes.iana_ranges import NOT_REACHABLE
from tests.fakes.receiver import Receiver, Say, receiving

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(
        parts.source()[0] != "embedded", reason="its own system's services are on this machine"
    ),
]

_ENDS_S = 30.0
_HOSTS = "127.0.0.1 localhost a.localhost [::1] 127.9.9.9 0.0.0.0 [::ffff:127.0.0.1] 2130706433 127.1".split()

#: A mapped address is as public as the IPv4 address that it is.
SPECIAL = [each for each in NOT_REACHABLE if each != ip_network("::ffff:0:0/96")]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Somebody else's program on this machine."""
    with receiving() as somebody:
        yield somebody


def own_ports(system: System) -> dict[str, int]:
    """Return the port of each service, by what it is."""
    urls = {name: getattr(system.endpoints, name) for name in ("redis", "clickhouse", "ingest", "analytics")}
    urls |= {"kafka": f"//{system.endpoints.kafka}", "simulator": system.endpoints.simulator}
    worker = system.process("worker-0").port
    assert worker is not None
    return {"worker": worker} | {name: urlsplit(url).port or 0 for name, url in urls.items()}


def ask(system: System, url: str) -> tuple[int, dict[str, Any]]:
    """Submit a request with a webhook; return the status and what is answered."""
    body = {"query": unique("What is lye?"), "user_id": "mallory", "webhook": {"url": url}}
    response = system.http.post("/v1/requests", json=body)
    return response.status_code, response.json()


def assert_refused(system: System, url: str) -> None:
    """Check that the sender is told at once."""
    status, body = ask(system, url)
    assert (status, body.get("error", {}).get("param")) == (400, "webhook.url"), (url, body)


def reply(system: System, request_id: str) -> dict[str, Any]:
    """Return the terminal reply, waiting for it."""

    def ended() -> dict[str, Any] | None:
        response = system.http.get(f"/v1/requests/{request_id}")
        found = response.json() if response.status_code == 200 else {}
        return found if found.get("status") in ("answered", "blocked", "failed") else None

    found = wait_for(ended, _ENDS_S)
    assert found, request_id
    return dict(found)


@pytest.mark.parametrize(
    "service", ["clickhouse", "redis", "kafka", "ingest", "analytics", "worker", "simulator"]
)
def test_a_service_of_ours_is_refused_by_every_name(system: System, service: str) -> None:
    """Though loopback is open; whether by http or https."""
    port = own_ports(system)[service]
    for host in _HOSTS:
        assert_refused(system, f"http://{host}:{port}/behaviour")
    assert_refused(system, f"https://127.0.0.1:{port}/")


def test_clickhouse_is_not_written_to(system: System, receiver: Receiver) -> None:
    """Neither by HTTP nor over Kafka, directly or by a redirect; and the books balance."""
    since = now()
    table = f"hooked_{uuid.uuid4().hex}"
    statement = quote(f"CREATE TABLE default.{table} (line String) ENGINE = Memory")
    url = f"http://127.0.0.1:{own_ports(system)['clickhouse']}/?query={statement}"
    assert_refused(system, url)
    produced = f"kafka-{table}"
    body = {
        "query": unique("What is lye?"),
        "user_id": "mallory",
        "request_id": produced,
        "webhook": {"url": url},
    }
    produce(system, [("llm.requests.v1", produced.encode(), body, [("kafka_correlationId", b"c")])])
    refused = reply(system, produced)
    assert (refused["status"], refused["error"]["param"]) == ("failed", "webhook.url")
    receiver.script = lambda got, before: Say(307, {"Location": url})
    status, accepted = ask(system, receiver.url())
    assert status == 202
    (letter,) = wait_for(lambda: dead(system, accepted["request_id"]), _ENDS_S)
    assert "redirects are not followed" in letter["message"]
    assert system.sql(f"SELECT name FROM system.tables WHERE name = '{table}'") == []
    assert dead(system, produced) == []
    code, report = audit(system, since, "--wait", "60")
    assert (code, report["verdict"]) == (0, "balanced")


def test_a_receiver_on_this_machine_is_reached(system: System, receiver: Receiver) -> None:
    """What is refused is ours, not loopback, where its operator has opened that."""
    for host in ("127.0.0.1", "localhost"):
        status, body = ask(system, receiver.url(f"/{host}", host=host))
        assert status == 202, body
        assert wait_for(lambda path=f"/{host}": receiver.on(path), _ENDS_S)


def test_a_name_that_leads_to_a_service_of_ours(system: System) -> None:
    """What nobody can tell from the URL is refused when it is sent: a dead letter says why."""
    try:
        socket.gethostbyname(socket.gethostname())
    except OSError:
        pytest.skip("this machine has no name that leads to it")
    port = own_ports(system)["simulator"]
    status, body = ask(system, f"http://{socket.gethostname()}:{port}/behaviour")
    assert status == 202, body
    (letter,) = wait_for(lambda: dead(system, body["request_id"]), _ENDS_S)
    assert "an address that is not allowed" in letter["message"]
    assert reply(system, body["request_id"])["status"] == "answered"


@pytest.mark.parametrize("special", SPECIAL, ids=str)
def test_no_special_range_is_reached(system: System, special: Network) -> None:
    """First, middle and last address of each range of IANA's registries, but for the open loopback."""
    for address in {special[0], special[special.num_addresses // 2], special[-1]}:
        if not address.is_loopback:
            host = f"[{address}]" if address.version == 6 else str(address)
            assert_refused(system, f"http://{host}:8080/hook")
