"""Where commands find Kafka, Redis and ClickHouse."""

import os
from pathlib import Path

import pytest

from headrace.up.environment import connection_settings
from headrace.up.home import Endpoints, Home, UpStatus, start_after_boot_s
from streams.errors import ConfigurationError

NAMES = ("HEADRACE_KAFKA_BOOTSTRAP", "HEADRACE_REDIS_URL", "HEADRACE_CLICKHOUSE_URL")


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the developer's variables nor a `.env` take part."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder of a `headrace up` that runs: this process stands for its supervisor."""
    made = Home(tmp_path / "home")
    made.write(
        "endpoints",
        Endpoints(
            kafka="up:9092",
            redis="redis://up",
            clickhouse="http://up",
            ingest="",
            analytics="",
            simulator=None,
            api_key="",
            admin_key="",
        ),
    )
    made.write(
        "status",
        UpStatus(
            supervisor_pid=os.getpid(),
            supervisor_start_s=start_after_boot_s(os.getpid()),
            ready=True,
            processes=(),
        ),
    )
    return made.path


def test_a_running_up_says_where_everything_is(home: Path) -> None:
    """Beside `headrace up` no variable is needed."""
    settings = connection_settings(home)
    assert (settings.kafka_bootstrap, settings.redis_url, settings.clickhouse_url) == (
        "up:9092",
        "redis://up",
        "http://up",
    )


def test_the_environment_wins(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who names the parts means these."""
    for name in NAMES:
        monkeypatch.setenv(name, "named:1")
    assert connection_settings(home).kafka_bootstrap == "named:1"


def test_what_the_environment_leaves_open_comes_from_the_up_that_uses_the_same_parts(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `.env` that names Kafka alone, as for an `up` with a Kafka of its own."""
    monkeypatch.setenv(NAMES[0], "up:9092")
    assert connection_settings(home).redis_url == "redis://up"


def test_two_installations_are_never_mixed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka of production and the Redis of a trial would be worse than an error."""
    monkeypatch.setenv(NAMES[0], "production:9092")
    with pytest.raises(ConfigurationError, match="HEADRACE_REDIS_URL is not set"):
        connection_settings(home)


def test_a_dotenv_counts_as_the_environment(home: Path, tmp_path: Path) -> None:
    """By the same rules as for every process."""
    (tmp_path / ".env").write_text("".join(f"{name}=dotenv:1\n" for name in NAMES))
    assert connection_settings(home).kafka_bootstrap == "dotenv:1"


def test_without_both_it_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start one, name its folder, or set the variables."""
    with pytest.raises(ConfigurationError, match=r"headrace up.*--data-dir.*HEADRACE_KAFKA_BOOTSTRAP"):
        connection_settings(tmp_path / "nowhere")
    monkeypatch.setenv(NAMES[0], "named:1")
    with pytest.raises(ConfigurationError, match="HEADRACE_REDIS_URL is not set"):
        connection_settings(tmp_path / "nowhere")
