"""Processes that are forked ahead: what they hold, and what becomes of them."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from common.own_files import let_go, own_file
from pipeline.local.side_by_side.places import Spares

ROOT = Path(__file__).parents[4]


def test_a_forked_child_lets_go_of_its_parents_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    held = path.open("w")
    fcntl.flock(held, fcntl.LOCK_EX)
    asked, answers = os.pipe()
    with own_file(held.fileno()):
        child = os.fork()
        if child == 0:
            let_go()
            os.write(answers, b"1")
            # Lives on until it is killed.
            threading.Event().wait()
    try:
        assert os.read(asked, 1) == b"1"
        held.close()
        with path.open("w") as other:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(asked)
        os.close(answers)


def test_what_was_held_no_longer_is_let_alone(tmp_path: Path) -> None:
    with (tmp_path / "a").open("w") as held:
        with own_file(held.fileno()):
            pass
        let_go()
        held.write("still its own")
    assert (tmp_path / "a").read_text() == "still its own"


def test_nothing_is_forked_beside_a_thread() -> None:
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    try:
        with Spares() as spares:
            spares.fork(3)
            assert spares.take() is None
    finally:
        ended.set()
        thread.join()


# In a process of its own, without threads; what stands for TFX is imported in no time.
_BEGIN = """
import os, sys, time, types
sys.modules["tfx"] = types.ModuleType("tfx")
sys.modules["tfx.v1"] = types.ModuleType("tfx.v1")
from pipeline.local.side_by_side import places, process
"""
_FORKS = """
def execute(kind, spec, invocation):
    if kind == "breaks":
        raise RuntimeError("broken")
    if kind == "trial" and hangs:
        time.sleep(100)
    return f"{os.getpid()} {os.environ['OPENBLAS_NUM_THREADS']}".encode()

hangs = False
process._execute = execute
with places.Spares() as spares:
    spares.fork(3)
    one, other = spares.take(), spares.take()
    assert spares.take() is None
    said = [each.execute(("", b"", b"")).decode() for each in (one, other)]
    assert len({*said, str(os.getpid())}) == 3, said
    threads = max(1, len(os.sched_getaffinity(0)) // 3)
    assert all(each.endswith(f" {threads}") for each in said), said
    try:
        one.execute(("breaks", b"", b""))
    except process.NodeError as error:
        assert str(error) == "broken"
    # The first would hear of its end only from the second, if that had its channel, too.
    one.end(at_once=False)
    assert one._process.exitcode == 0, one._process.exitcode
    other.end(at_once=False)
    assert other._process.exitcode == 0
    spares.fork(2)
    unused = spares._there[0]._process
assert unused.exitcode == -9
# One that hangs is ended, and another one is started in its place.
hangs, places._WORKS_WITHIN_S = True, 0.5
with places.Spares() as spares:
    spares.fork(2)
    hanging = spares._there[0]
    another = types.SimpleNamespace(end=print)
    places._Process = lambda processes: another
    with places.Places(2, print, spares) as some:
        assert some._start() is another
    assert hanging._process.exitcode == -9
"""
_COMPUTES = """
import tensorflow as tf
with places.Spares() as spares:
    spares.fork(2)
    assert spares.take().works()
    tf.constant(1) + 1
    spares.fork(2)
    assert spares.take() is None
"""


@pytest.mark.slow
@pytest.mark.parametrize("script", [_FORKS, _COMPUTES], ids=["whatever they do", "TensorFlow"])
def test_spares_execute_and_end_when_their_channel_is_closed(script: str, tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    body = (_BEGIN + script).strip().replace("\n", "\n    ")
    file.write_text(f'if __name__ == "__main__":\n    {body}\n')
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    environment |= {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, file], env=environment, check=True, timeout=120)
