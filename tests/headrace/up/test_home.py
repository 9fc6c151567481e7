"""The folder of a running `headrace up`."""

import os
import stat
from pathlib import Path

import psutil
import pytest

from headrace.up.home import AlreadyRunning, Home, NotRunning, ProcessStatus, UpStatus, start_after_boot_s
from streams.webhooks.signing import signing_keys


def status(pid: int = os.getpid(), *, start_s: float | None = None) -> UpStatus:
    return UpStatus(
        supervisor_pid=pid,
        supervisor_start_s=start_after_boot_s(os.getpid()) if start_s is None else start_s,
        ready=False,
        processes=(ProcessStatus(role="kafka", state="running", pid=1),),
    )


def test_the_keys_stay_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    """A restart keeps the keys; nobody else on the machine can read them."""
    keys = Home(tmp_path).keys()
    assert Home(tmp_path).keys() == keys
    assert keys.api_key != keys.admin_key
    assert stat.S_IMODE((tmp_path / "keys.json").stat().st_mode) == 0o600


def test_a_folder_of_an_earlier_version_gets_what_it_lacks(tmp_path: Path) -> None:
    """Its keys stay; webhooks' secret and the passwords of the parts are made, once."""
    (tmp_path / "keys.json").write_text('{"api_key": "hr-old", "admin_key": "hr-admin-old"}')
    keys = Home(tmp_path).keys()
    assert (keys.api_key, keys.admin_key) == ("hr-old", "hr-admin-old")
    assert len(signing_keys(keys.webhook_secret)) == 1
    made = {keys.reader_password, keys.clickhouse_password, keys.redis_password, keys.control_password}
    assert len(made) == 4
    assert min(map(len, made)) >= 32
    assert Home(tmp_path).keys() == keys


def test_a_folder_that_others_could_read_is_closed(tmp_path: Path) -> None:
    """Nobody but its owner gets to what is below it, whatever the umask was."""
    tmp_path.chmod(0o777)
    home = Home(tmp_path)
    home.lock()
    os.close(home.create_up_log())
    assert home.temporary().is_dir()
    assert not [path for path in (tmp_path, *tmp_path.rglob("*")) if path.stat().st_mode & 0o077]


def test_two_cannot_run_on_one_folder(tmp_path: Path) -> None:
    """The second is told what to do."""
    Home(tmp_path).lock()
    with pytest.raises(AlreadyRunning, match="headrace down"):
        Home(tmp_path).lock()


def test_a_status_of_a_dead_supervisor_does_not_count(tmp_path: Path) -> None:
    """Neither where its pid is gone, nor where a younger process has it now."""
    home = Home(tmp_path)
    with pytest.raises(NotRunning, match="headrace up"):
        home.status()
    home.write("status", status(2**22 + 1))
    with pytest.raises(NotRunning):
        home.status()
    home.write("status", status(start_s=1.0))
    with pytest.raises(NotRunning):
        home.status()
    home.write("status", status())
    assert home.status().processes[0].role == "kafka"


def test_a_machine_that_slept_or_set_its_clock_still_runs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel then tells another time of the boot, and psutil another one of every process's start."""
    home = Home(tmp_path)
    home.write("status", status())
    booted_at = psutil.boot_time()
    for jump_s in (3_600.0, -3_600.0):
        monkeypatch.setattr("psutil._pslinux.boot_time", lambda jump_s=jump_s: booted_at + jump_s)
        assert home.status().supervisor_pid == os.getpid()


def test_endpoints_are_not_given_before_everything_is_ready(tmp_path: Path) -> None:
    """A script that waits for the endpoints waits for the whole system."""
    home = Home(tmp_path)
    home.write("status", status())
    with pytest.raises(NotRunning, match="still starting"):
        home.endpoints()


def test_broken_ports_are_forgotten(tmp_path: Path) -> None:
    """A damaged file costs other ports, not the start."""
    home = Home(tmp_path)
    home.write("ports", {"kafka": 1234})
    assert home.ports() == {"kafka": 1234}
    (tmp_path / "ports.json").write_text("{")
    assert home.ports() == {}
