"""What models have seen is written once, and read back as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.pushed_versions.seen_images import SEEN_FILE, Images, read_seen, union, write_seen


def test_it_is_read_back_as_it_was(tmp_path: Path) -> None:
    images = Images(frozenset({"b", "a"}), frozenset({"Ä. B."}))
    write_seen(str(tmp_path / "new"), images)
    assert read_seen(str(tmp_path / "new")) == images


def test_nothing_leaves_no_file_and_no_file_is_nothing(tmp_path: Path) -> None:
    write_seen(str(tmp_path), Images())
    assert not (tmp_path / SEEN_FILE).exists()
    assert read_seen(str(tmp_path)) == Images()


def test_the_union_has_both_kinds() -> None:
    one = Images(frozenset({"a"}), frozenset({"p"}))
    two = Images(frozenset({"b"}), frozenset({"q"}))
    assert union([one, two]) == Images(frozenset({"a", "b"}), frozenset({"p", "q"}))
    assert union([]) == Images()


@pytest.mark.parametrize("text", ["[]", '{"hashes": []}', "no JSON"])
def test_another_file_of_that_name_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / SEEN_FILE).write_text(text)
    with pytest.raises(ValueError):
        read_seen(str(tmp_path))
