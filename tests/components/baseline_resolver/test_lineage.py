"""What is found upstream of an artifact."""

from __future__ import annotations

from typing import Any

from components.baseline_resolver.lineage import upstream_artifacts
from components.radiograph_example_gen.artifact import SplitManifest


def _found(lineage: Any, artifact: Any, type_name: str = SplitManifest.TYPE_NAME) -> list[int]:
    found = upstream_artifacts(lineage.store, artifact.id, type_name)
    assert all(a.uri for a in found)
    return [a.id for a in found]


def test_what_lies_beside_an_ancestor(lineage: Any) -> None:
    examples, manifest = lineage.split({})
    other_examples, _ = lineage.split({})
    lineage.train(other_examples)
    assert _found(lineage, lineage.train(examples)) == [manifest.id]
    assert _found(lineage, examples) == [manifest.id]


def test_neither_the_start_nor_what_lies_downstream(lineage: Any) -> None:
    model = lineage.train(lineage.split({})[0])
    lineage.execution([model], [lineage.artifact(SplitManifest.TYPE_NAME)])
    assert model.id not in _found(lineage, model, "Model")
    assert len(_found(lineage, model)) == 1


def test_cached_executions_lead_to_the_same_artifacts(lineage: Any) -> None:
    examples, manifest = lineage.split({})
    model = lineage.train(examples)
    lineage.execution([], [examples, manifest])
    lineage.execution([examples], [model])
    assert _found(lineage, model) == [manifest.id]


def test_a_resolver_has_not_made_what_it_hands_on(lineage: Any) -> None:
    model, other = lineage.model({}), lineage.model({})
    before = _found(lineage, model)
    lineage.execution([other], [model], kind="INTERNAL_")
    assert _found(lineage, model) == before


def test_a_loop_ends(lineage: Any) -> None:
    one, two = lineage.artifact("Examples"), lineage.artifact("Examples")
    lineage.execution([one], [two])
    lineage.execution([two], [one])
    assert _found(lineage, one) == []


def test_an_artifact_that_nothing_wrote(lineage: Any) -> None:
    assert _found(lineage, lineage.artifact("Model")) == []
