"""Who may read and write a salt, and who makes it."""

from __future__ import annotations

import logging
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from common.errors import InputError
from common.salt import make_salt, own_file, read_salt


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "cxr-tfx"


def test_a_salt_is_made_once_for_its_user_alone(home: Path) -> None:
    file = own_file("a.salt")
    assert file == home / "a.salt"
    assert make_salt(file, "x")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    salt = read_salt(file, "x")
    assert len(salt) == 64
    assert not make_salt(file, "x")
    assert read_salt(file, "x") == salt
    assert list(home.iterdir()) == [file]


def test_those_who_come_at_the_same_time_get_one_salt(home: Path) -> None:
    def one(_: int) -> tuple[bool, bytes]:
        made = make_salt(own_file("a"), "x")
        return made, read_salt(own_file("a"), "x")

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(one, range(64)))
    assert [made for made, _ in found].count(True) == 1
    assert len({salt for _, salt in found}) == 1


def test_a_folder_of_settings_that_is_relative_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for given in ("config", ""):
        monkeypatch.setenv("XDG_CONFIG_HOME", given)
        assert own_file("a") == tmp_path / ".config" / "cxr-tfx" / "a"


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_others_may_not_read_the_installations_own(home: Path, mode: int) -> None:
    file = own_file("a")
    make_salt(file, "salt-file")
    file.chmod(mode)
    with pytest.raises(InputError, match=r"salt-file: others may read .*; chmod 600 it"):
        read_salt(file, "salt-file")


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_others_may_write_none(home: Path, tmp_path: Path, mode: int) -> None:
    make_salt(own_file("a"), "x")
    for file in (own_file("a"), tmp_path / "named"):
        file.write_bytes(b"x" * 32)
        file.chmod(mode)
        with pytest.raises(InputError, match="others may write"):
            read_salt(file, "x")


def test_a_secret_as_kubernetes_mounts_it_is_read_and_that_is_said_once(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A link to a link to a folder with a date, and 0644."""
    real = tmp_path / "secret" / "..2026_11_29"
    real.mkdir(parents=True)
    (real / "salt").write_bytes(b"s" * 32 + b"\n")
    (real / "salt").chmod(0o644)
    (tmp_path / "secret" / "..data").symlink_to(real.name)
    mounted = tmp_path / "secret" / "salt"
    mounted.symlink_to("..data/salt")
    with caplog.at_level(logging.WARNING):
        assert read_salt(mounted, "salt") == read_salt(mounted, "salt") == b"s" * 32
    assert [record.getMessage() for record in caplog.records] == [
        f"salt: others on this machine may read {mounted}"
    ]


def test_what_is_no_salt(tmp_path: Path) -> None:
    file = tmp_path / "salt"
    with pytest.raises(InputError, match="can't be read: No such file"):
        read_salt(file, "x")
    file.write_bytes(b" 15 bytes only..\n")
    with pytest.raises(InputError, match="holds 15 bytes; 16 or more"):
        read_salt(file, "x")
    with pytest.raises(InputError, match="can't be made: Not a directory"):
        make_salt(file / "below" / "salt", "x")
