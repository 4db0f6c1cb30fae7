"""The store of features: the same key gives the same bytes, whatever happened before."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import InputError
from common.runtime import prepare_environment

prepare_environment()

from models.feature_store import parts, usage  # noqa: E402
from models.feature_store.keys import image_key  # noqa: E402
from models.feature_store.parts import PartReader, PartWriter, find  # noqa: E402
from tests.corner_prefix import CornerPrefix, stored  # noqa: E402

IMAGES = 24


def _pixels(numbers: Sequence[int]) -> np.ndarray:
    return np.stack([np.full((4, 4, 1), number, np.uint8) for number in numbers])


def _ask(store: Path, numbers: Sequence[int], prefix: CornerPrefix, step: int = 3) -> list[float]:
    """What the store, and `prefix` behind it, say of images."""
    steps = [numbers[start : start + step] for start in range(0, len(numbers), step)]
    stream = stored(str(store), prefix).stream(len(steps), lambda at: _pixels(steps[at]))
    return [
        float(np.frombuffer(one["corner"], np.float32)[0])
        for _, features in stream
        for one in features
    ]


def _content(folder: Path) -> dict[bytes, set[bytes]]:
    """Key -> what all parts together say of it."""
    found: dict[bytes, set[bytes]] = {}
    with PartReader() as reader:
        for part in parts.parts_of(str(folder)):
            for key, entry in parts.read_index(part):
                content = reader.read(entry)
                if content is not None:
                    found.setdefault(key, set()).add(content)
    return found


def _network(store: Path) -> Path:
    (folder,) = (path for path in store.iterdir() if path.is_dir())
    return folder


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_whatever_was_asked_stopped_or_damaged_before_answers_are_the_same(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = tmp_path_factory.mktemp("store")
    numbers = st.lists(st.integers(0, IMAGES - 1), min_size=1, max_size=IMAGES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "_PART_ENTRIES", data.draw(st.integers(1, 8)))
        for _ in range(data.draw(st.integers(1, 5))):
            what = data.draw(st.sampled_from(["ask", "ask", "stop", "flip", "cut", "remove"]))
            files = sorted(store.rglob("*.data")) + sorted(store.rglob("*.index"))
            if what == "ask" or (what != "stop" and not files):
                wanted = data.draw(numbers)
                answers = _ask(store, wanted, CornerPrefix(), data.draw(st.integers(1, 5)))
                assert answers == [float(number) for number in wanted]
            elif what == "stop":
                prefix = CornerPrefix(fail_after=data.draw(st.integers(0, IMAGES)))
                with contextlib.suppress(KeyboardInterrupt):
                    _ask(store, data.draw(numbers), prefix)
            else:
                victim = data.draw(st.sampled_from(files))
                content = bytearray(victim.read_bytes())
                if what == "flip":
                    content[data.draw(st.integers(0, len(content) - 1))] ^= 1
                    victim.write_bytes(content)
                elif what == "cut":
                    victim.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
                else:
                    victim.unlink()
        every = range(IMAGES)
        # Each time that something is computed, at least one damaged part has been set aside.
        for _ in range(len(list(store.rglob("*.data"))) + 2):
            prefix = CornerPrefix()
            assert _ask(store, every, prefix) == list(map(float, every))
            if not prefix.loaded:
                break
        else:
            pytest.fail("what was computed is not found")
        assert all(len(said) == 1 for said in _content(_network(store)).values())


def test_what_is_asked_for_twice_is_written_once(tmp_path: Path) -> None:
    assert _ask(tmp_path, [1, 2, 1, 1, 3, 2], CornerPrefix()) == [1, 2, 1, 1, 3, 2]
    rows = [
        row for part in parts.parts_of(str(_network(tmp_path))) for row in parts.read_index(part)
    ]
    assert len(rows) == 3


def test_another_network_shares_nothing(tmp_path: Path) -> None:
    prefix = CornerPrefix()
    for weights in ("a", "b", "a"):
        list(stored(str(tmp_path), prefix, weights=weights).stream(1, lambda _: _pixels([1, 2])))
    assert prefix.images == 2 * 2


def test_an_image_is_known_by_what_the_network_sees() -> None:
    one = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    assert image_key(one) == image_key(one[:, ::-1][:, ::-1])
    assert image_key(one) != image_key(one[:, ::-1])


def test_two_writers_at_once_do_no_harm(tmp_path: Path) -> None:
    """Threads, as Beam's direct runner may have them."""
    together = threading.Barrier(4)
    answers: list[list[float]] = []

    def work(first: int) -> None:
        wanted = [(first + number) % IMAGES for number in range(IMAGES)]
        together.wait()
        answers.append(sorted(_ask(tmp_path, wanted, CornerPrefix())))

    threads = [threading.Thread(target=work, args=(6 * index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [list(map(float, range(IMAGES)))] * 4
    found = _content(_network(tmp_path))
    assert len(found) == IMAGES
    assert all(len(said) == 1 for said in found.values())


def _write_for_ever(folder: str, started: Any) -> None:
    """Entries of which a key is the content's name, until somebody kills the process."""
    with PartWriter(folder) as writer:
        for number in range(10**9):
            key = number.to_bytes(32, "big")
            writer.add(key, key * 100)
            if number == 5000:
                started.set()


def test_a_kill_in_the_middle_leaves_whole_entries_alone(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    started = context.Event()
    writer = context.Process(target=_write_for_ever, args=(str(tmp_path), started))
    writer.start()
    assert started.wait(60)
    assert writer.pid is not None
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    wanted = {number.to_bytes(32, "big") for number in range(5001)}
    found = find(str(tmp_path), wanted)
    # All but the part under way.
    assert len(found) >= 4096
    with PartReader() as reader:
        assert all(reader.read(entry) == key * 100 for key, entry in found.items())
    if len(found) < len(wanted):
        # The second part was begun: its data is there, whole or not, and its index isn't.
        data, indexes = list(tmp_path.glob("*.data*")), list(tmp_path.glob("*.index"))
        assert len(data) > len(indexes)


def test_a_part_ends_when_it_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_PART_BYTES", 1000)
    with PartWriter(str(tmp_path)) as writer:
        for number in range(10):
            writer.add(bytes(31) + bytes([number]), bytes(400))
    assert sorted(path.stat().st_size for path in tmp_path.glob("*.data")) == [
        400,
        1200,
        1200,
        1200,
    ]


def test_a_store_that_cannot_be_written_to_is_the_users_matter(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"featurizer\.store: .*/file/.* can't be written to"):
        _ask(tmp_path / "file", [1], CornerPrefix())


def _used(store: Path, who: Path, weights: str) -> Path:
    """Features of a network with these weights, and who refers to them -> its folder."""
    prefix = stored(str(store), CornerPrefix(), weights=weights)
    list(prefix.stream(1, lambda _: _pixels([1, 2])))
    network = prefix.network
    assert network is not None
    who.mkdir(parents=True, exist_ok=True)
    usage.note(str(store), str(who), [network.name])
    return Path(network.folder)


def test_what_nobody_refers_to_goes_and_nothing_else(tmp_path: Path) -> None:
    store = tmp_path / "output" / "features"
    kept = _used(store, tmp_path / "output" / "artifacts" / "1", "a")
    gone = _used(store, tmp_path / "output" / "artifacts" / "2", "b")
    assert usage.clean(str(store), dry_run=False).what == {}
    (tmp_path / "output" / "artifacts" / "2").rmdir()
    size = sum(path.stat().st_size for path in gone.iterdir())
    would = usage.clean(str(store), dry_run=True)
    assert would.what == {str(gone): size}
    assert gone.exists()
    assert usage.clean(str(store), dry_run=False) == would
    assert not gone.exists()
    assert [network.name for network in usage.look(str(store))] == [kept.name]
    assert len(list((store / "used-by").iterdir())) == 1


def test_references_move_with_their_output(tmp_path: Path) -> None:
    _used(tmp_path / "output" / "features", tmp_path / "output" / "artifacts" / "1", "a")
    (tmp_path / "output").rename(tmp_path / "moved")
    (network,) = usage.look(str(tmp_path / "moved" / "features"))
    assert network.used_by == (str(tmp_path / "moved" / "artifacts" / "1"),)
    assert (network.images, network.left) == (2, 0)


def test_who_is_on_another_machine_may_still_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = usage.platform.node()
    monkeypatch.setattr(usage.platform, "node", lambda: f"not {here}")
    store = tmp_path / "shared" / "store"
    folder = _used(store, tmp_path / "there" / "artifacts", "a")
    (tmp_path / "there" / "artifacts").rmdir()
    monkeypatch.setattr(usage.platform, "node", lambda: here)
    assert usage.clean(str(store), dry_run=False).what == {}
    assert folder.exists()


def test_rests_go_once_nobody_writes_them(tmp_path: Path) -> None:
    store = tmp_path / "features"
    folder = _used(store, tmp_path / "artifacts", "a")
    fresh, old, damaged = (folder / f"{name}.data" for name in ("fresh", "old", "damaged"))
    for path in (fresh, old, damaged, folder / "killed.data.unfinished"):
        path.write_bytes(b"12")
    (folder / "damaged.damaged").write_bytes(b"3")
    long_ago = time.time() - 2 * 24 * 3600
    for path in (old, folder / "killed.data.unfinished"):
        os.utime(path, (long_ago, long_ago))
    removed = usage.clean(str(store), dry_run=False)
    assert removed.size == 2 + 2 + 2 + 1
    assert fresh.exists()
    assert not any(path.exists() for path in (old, damaged))
    assert _ask(store, [1], CornerPrefix()) == [1.0]
