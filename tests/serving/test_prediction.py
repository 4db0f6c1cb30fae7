"""Reading files to classify."""

from __future__ import annotations

from pathlib import Path

from serving.prediction import MOST_BYTES, Failure, read_file
from serving.settings import Limits


def test_a_file_of_as_many_bytes_as_may_be_is_read_and_of_one_more_is_not(tmp_path: Path) -> None:
    file = tmp_path / "image"
    file.write_bytes(b"x" * 9)
    assert read_file(file, 9) == b"x" * 9
    assert read_file(file, 8) == Failure(file, "has more than 8 bytes, and no image needs as many")


def test_no_more_is_read_than_may_be() -> None:
    """The file has no end, and no size."""
    found = read_file(Path("/dev/zero"))
    assert isinstance(found, Failure)
    assert f"more than {MOST_BYTES} bytes" in found.why
    assert Limits().body_bytes == MOST_BYTES


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert read_file(tmp_path / "x") == Failure(
        tmp_path / "x", "can't be read: No such file or directory"
    )
