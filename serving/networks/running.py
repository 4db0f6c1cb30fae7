"""Networks that run: from pixels through shared trunks and a head, one network or several."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

import numpy as np

from models.combination import combine, have_distances, is_passed_on, nearest
from models.engines import EngineName, Features, Hint, OpenVinoEngine
from models.openvino_runtime import import_openvino
from models.rule import Rule
from schema import contract

# So many heads stay in memory though no network has them: more than a combination has members.
_LATEST_HEADS: Final = 8


class Network(Protocol):
    """Pixels -> each head's probabilities.

    Attributes:
        name: of the engine.
    """

    name: EngineName

    def __call__(self, images: np.ndarray) -> Features:
        """Run images, grey levels uint8 [n, 256, 256, 1]; n is at least 1."""

    def compile(self) -> None:
        """Do now what the first images would wait for."""


class RunsTrunk(Protocol):
    """Pixels -> vectors."""

    def __call__(self, images: np.ndarray, name: EngineName) -> Features:
        """Run images, grey levels uint8 [n, 256, 256, 1], in one precision; n is at least 1."""

    def compile(self, name: EngineName) -> None:
        """Do now what the first images would wait for."""


class FindsTrunks(Protocol):
    """A source of trunks and heads; `Trunks` says how."""

    def get(self, key: str, outputs: Sequence[str], read: Callable[[], Any]) -> RunsTrunk:
        """Return a trunk."""

    def head(self, key: str, outputs: Sequence[str], read: Callable[[], Any]) -> Head:
        """Return a head."""


class Flight:
    """The number of images that are in networks now."""

    def __init__(self) -> None:
        self._images = 0
        self._lock = threading.Lock()

    @contextmanager
    def of(self, images: int) -> Iterator[bool]:
        """Count images in, and out again.

        Yields:
            Whether it is one, and no other is in a network.
        """
        with self._lock:
            self._images += images
            lone = self._images == 1
        try:
            yield lone
        finally:
            with self._lock:
                self._images -= images


class Trunk:
    """A trunk in memory; compiled once for each precision and purpose that it is asked for."""

    def __init__(self, model: Any, outputs: Sequence[str], flight: Flight) -> None:
        """Keep what is compiled later.

        Args:
            model: `openvino.Model`.
            outputs: their names.
            flight: which images are under way, in all trunks.
        """
        self._model = model
        self._outputs = tuple(outputs)
        self._flight = flight
        self._engines: dict[tuple[EngineName, Hint], OpenVinoEngine] = {}
        self._lock = threading.Lock()

    def compiled(self, name: EngineName, hint: Hint) -> OpenVinoEngine:
        """Return an engine, compiled at the first call."""
        with self._lock:
            if (name, hint) not in self._engines:
                engine = OpenVinoEngine(self._model, self._outputs, name, hint)
                self._engines[name, hint] = engine
            return self._engines[name, hint]

    def __call__(self, images: np.ndarray, name: EngineName) -> Features:
        """Run images; a lone one on all cores, several side by side. The answers are the same."""
        with self._flight.of(len(images)) as lone:
            return self.compiled(name, "LATENCY" if lone else "THROUGHPUT")(images)

    def compile(self, name: EngineName) -> None:
        """Compile for a lone image, and for several."""
        hints: Final[tuple[Hint, ...]] = ("THROUGHPUT", "LATENCY")
        for hint in hints:
            self.compiled(name, hint)


class Head:
    """A head: vectors of one image -> probabilities. It is small, and always float32."""

    def __init__(self, model: Any, outputs: Sequence[str]) -> None:
        """Compile it.

        Args:
            model: `openvino.Model`.
            outputs: their names.
        """
        openvino = import_openvino()
        # One thread: to share such a little out would take longer than to do it.
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        options["INFERENCE_NUM_THREADS"] = "1"
        self._compiled = openvino.Core().compile_model(model, "CPU", options)
        self._inputs = [port.get_any_name() for port in self._compiled.inputs]
        self._outputs = {name: self._compiled.output(name) for name in outputs}
        self._idle: deque[Any] = deque()

    def __call__(self, vectors: Features) -> Features:
        """Run rows one by one: none depends on its neighbours."""
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        rows: dict[str, list[np.ndarray]] = {name: [] for name in self._outputs}
        for row in range(len(vectors[self._inputs[0]])):
            request.infer({name: vectors[name][row : row + 1] for name in self._inputs})
            for name, port in self._outputs.items():
                rows[name].append(request.get_tensor(port).data[0].copy())
        self._idle.append(request)
        return {name: np.stack(values) for name, values in rows.items()}


class Trunks:
    """The trunks and heads that are in memory, each once, for as long as a network has it."""

    def __init__(self) -> None:
        self._flight = Flight()
        self._lock = threading.Lock()
        self._trunks: weakref.WeakValueDictionary[str, Trunk] = weakref.WeakValueDictionary()
        self._heads: weakref.WeakValueDictionary[str, Head] = weakref.WeakValueDictionary()
        # Whoever loads a version has its heads several times: to compare, to choose, to serve.
        self._latest_heads: deque[Head] = deque(maxlen=_LATEST_HEADS)

    def get(self, key: str, outputs: Sequence[str], read: Callable[[], Any]) -> Trunk:
        """Return a trunk.

        Args:
            key: of the part.
            outputs: their names.
            read: makes the `openvino.Model`, where it isn't in memory.
        """
        with self._lock:
            trunk = self._trunks.get(key)
            if trunk is None:
                trunk = self._trunks[key] = Trunk(read(), outputs, self._flight)
            return trunk

    def head(self, key: str, outputs: Sequence[str], read: Callable[[], Any]) -> Head:
        """Return a head, as `get` a trunk; any precision's trunks may stand before it."""
        with self._lock:
            head = self._heads.get(key)
            if head is None:
                head = self._heads[key] = Head(read(), outputs)
                self._latest_heads.append(head)
            return head

    def __len__(self) -> int:
        """Count the trunks in memory."""
        return len(self._trunks)


class PartedNetwork:
    """Trunks and the head that stands on them, in one precision."""

    def __init__(self, trunks: Sequence[RunsTrunk], head: Head | None, name: EngineName) -> None:
        """Join them.

        Args:
            trunks: whose vectors the head takes.
            head: None where the one trunk is all of it.
            name: of the engine, which is the trunks' precision.
        """
        self.name = name
        self._trunks, self._head = tuple(trunks), head

    def __call__(self, images: np.ndarray) -> Features:
        """Run images."""
        vectors: Features = {}
        for trunk in self._trunks:
            vectors |= trunk(images, self.name)
        return vectors if self._head is None else self._head(vectors)

    def compile(self) -> None:
        """Compile the trunks."""
        for trunk in self._trunks:
            trunk.compile(self.name)


class CombinedNetwork:
    """Networks whose answers become one by a rule (see `models.combination`)."""

    def __init__(self, rule: Rule, members: Sequence[Network]) -> None:
        """Join them.

        Args:
            rule: what to do.
            members: in the rule's order, all in one precision.
        """
        self.name = members[0].name
        self._rule, self._members = rule, tuple(members)

    def __call__(self, images: np.ndarray) -> Features:
        """Run images; in a cascade, the later members get those that the first is unsure of."""
        first, *others = self._members
        alone = first(images)
        rows = np.arange(len(images))
        if self._rule.kind == contract.CASCADE:
            (rows,) = np.nonzero(is_passed_on(self._rule, [alone]))
        answers, further = [alone], []
        for member in others if len(rows) else ():
            further.append(member(images[rows]))
            answers.append(
                {head: _placed(found, rows, len(images)) for head, found in further[-1].items()}
            )
        found = {contract.FLAT: combine(self._rule, answers).astype(np.float32)}
        if have_distances([alone, *further]):
            # As `models.combination.answer_tensors` has it: of the members that were asked.
            distances = alone[contract.DISTANCE].copy()
            for each in further:
                distances[rows] = nearest([distances[rows], each[contract.DISTANCE]])
            found[contract.DISTANCE] = distances
        return found

    def compile(self) -> None:
        """Compile the members."""
        for member in self._members:
            member.compile()


def _placed(asked: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """Put the answers for some images where they belong; the rule looks at no others."""
    placed = np.zeros((count, *asked.shape[1:]), asked.dtype)
    placed[rows] = asked
    return placed
