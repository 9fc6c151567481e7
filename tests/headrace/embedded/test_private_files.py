"""Files and folders for their owner alone."""

import os
import stat
from pathlib import Path

import pytest

from headrace.embedded.errors import NotPrivate
from headrace.embedded.private_files import kept_password, private_folder, tighten, write_private


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
    with pytest.raises(NotPrivate, match="belongs to another user"):
        private_folder(tmp_path)


def test_what_is_below_is_closed_and_links_are_not_followed(tmp_path: Path) -> None:
    """The owner's own rights stay; what a link points to outside stays as it is."""
    outside, root = tmp_path / "outside", tmp_path / "root"
    (root / "deep").mkdir(parents=True)
    for path, bits in ((outside, 0o644), (root / "deep" / "log", 0o664), (root / "tool", 0o755)):
        path.write_text("")
        path.chmod(bits)
    (root / "link").symlink_to(outside)
    tighten(root)
    assert [mode(root / name) for name in (".", "deep", "deep/log", "tool")] == [0o700, 0o700, 0o600, 0o700]
    assert mode(outside) == 0o644


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
