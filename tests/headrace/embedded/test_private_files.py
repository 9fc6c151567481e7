"""Files and folders for their owner alone."""

import os
import stat
from pathlib import Path

import pytest

from headrace.embedded.data_dir import kept_password, private_folder, write_private
from headrace.embedded.errors import EmbeddedError


def mode(path: Path) -> int:
    """The permission bits."""
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_folder_is_closed_to_others_whatever_it_was(tmp_path: Path) -> None:
    """A new one is made with its parents; one of an earlier version is closed."""
    assert mode(private_folder(tmp_path / "a" / "b")) == 0o700
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    assert mode(private_folder(tmp_path / "open")) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    """They could put something into it: the message says what to change."""
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(EmbeddedError, match="belongs to another user"):
        private_folder(tmp_path)


def test_a_file_is_private_even_where_the_old_one_was_not(tmp_path: Path) -> None:
    """It replaces the old one, so that whoever has that open does not see the new content."""
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o666)
    write_private(path, "new")
    assert (mode(path), path.read_text()) == (0o600, "new")
    assert [*tmp_path.iterdir()] == [path]


def test_a_password_is_made_once(tmp_path: Path) -> None:
    """Two files have two."""
    first = kept_password(tmp_path / "first")
    assert kept_password(tmp_path / "first") == first
    assert kept_password(tmp_path / "second") != first
    assert mode(tmp_path / "first") == 0o600
