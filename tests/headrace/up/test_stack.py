"""What `headrace up` hands to its processes, before it starts any."""

import json
from pathlib import Path

import pytest

from headrace.up.home import Home
from headrace.up.stack import Options, Stack
from streams.errors import ConfigurationError, InvalidRequest
from streams.settings import Settings
from streams.webhooks.targets import Targets

PARTS = {
    "kafka": "127.0.0.1:21001",
    "redis": "redis://127.0.0.1:21002",
    "clickhouse": "http://127.0.0.1:21003",
}
OPENED = {
    "HEADRACE_WEBHOOK_ALLOW_HTTP": "true",
    "HEADRACE_WEBHOOK_ALLOW_NETWORKS": '["127.0.0.0/8"]',
    "HEADRACE_WEBHOOK_OWN_SERVICES": '["other.example:8000"]',
}


def environ_of(tmp_path: Path, environ: dict[str, str]) -> dict[str, str]:
    stack = Stack(
        Home(tmp_path), Options(workers=2), environ, on_progress=lambda _: None, on_change=lambda: None
    )
    return stack.service_environment(PARTS, "http://127.0.0.1:21004")


def targets_of(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Targets:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return Settings(_env_file=None).webhook_targets  # type: ignore[call-arg]  # pydantic-settings'


@pytest.mark.parametrize("url", ["http://hooks.example/", "https://127.0.0.1/", "https://localhost:9443/"])
def test_webhooks_go_nowhere_special(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Neither in the clear nor to this machine, unless its operator says so."""
    targets = targets_of(environ_of(tmp_path, {}), monkeypatch)
    assert targets.enabled
    with pytest.raises(InvalidRequest):
        targets.check_url(url)


def test_no_port_of_ours_is_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not those of parts, services, workers and simulator, nor what the operator names; others are."""
    environ = environ_of(tmp_path, OPENED)
    targets = targets_of(environ, monkeypatch)
    ours = {int(each.rpartition(":")[2]) for each in json.loads(environ["HEADRACE_WEBHOOK_OWN_SERVICES"])}
    assert len(ours) >= 5  # ingest, analytics, two workers, and the operator's
    for port in {21001, 21002, 21003, 21004} | ours - {8000}:
        with pytest.raises(InvalidRequest, match="installation"):
            targets.check_url(f"http://127.0.0.1:{port}/")
    with pytest.raises(InvalidRequest, match="installation"):
        targets.check_url("http://other.example:8000/")
    assert targets.check_url("http://127.0.0.1:1/") == "127.0.0.1"


def test_a_list_of_services_that_is_none(tmp_path: Path) -> None:
    """The message names the setting."""
    with pytest.raises(ConfigurationError, match="HEADRACE_WEBHOOK_OWN_SERVICES"):
        environ_of(tmp_path, {"HEADRACE_WEBHOOK_OWN_SERVICES": "ingest:8000"})
