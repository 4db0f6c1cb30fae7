"""Inspects the images, decides on the split, writes the examples and the manifest."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import apache_beam as beam
import tensorflow as tf
from absl import logging
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils

from common.errors import InputError

# Registers the artifact type where this module is all that a container imports.
from components.radiograph_example_gen.artifact import SplitManifest  # noqa: F401
from components.radiograph_example_gen.converted import NOTHING_KEPT, ConvertedImages
from components.radiograph_example_gen.discovery import Candidate, Discovery
from components.radiograph_example_gen.fingerprint import fingerprint
from components.radiograph_example_gen.image_facts import write_image_facts
from components.radiograph_example_gen.inspection import Inspection, inspect_file
from components.radiograph_example_gen.kept_splits import read_kept, write_kept
from components.radiograph_example_gen.manifest import write_manifest
from components.radiograph_example_gen.salt import salt_for
from components.radiograph_example_gen.selection import (
    Decision,
    decide,
    look,
    sift,
    summarize,
    with_headers,
)
from components.radiograph_example_gen.settings import (
    INPUT_FINGERPRINT,
    Limits,
    Settings,
    parse_settings,
    to_json,
)
from components.radiograph_example_gen.span_facts import write_span_facts
from components.radiograph_example_gen.table_slices import Slicing
from components.radiograph_example_gen.writing import Shard, make_record, plan_shards, write_shard
from models.rendering import Rendering
from schema import contract

EXAMPLES_KEY = "examples"
MANIFEST_KEY = "manifest"
# Candidates that one Beam element holds: enough for threads, few enough to spread.
_CHUNK = 32
_CHANGED = "The data folder changed during the run"


class InspectFn(beam.DoFn):
    """Some candidates → one line of JSON (`Inspection`) each.

    Decoding, hashing and reading release the interpreter lock, so threads use all cores
    where Beam runs a single worker.
    """

    def __init__(
        self,
        data_dir: str,
        limits: Limits,
        salt: bytes = b"",
        converted: ConvertedImages = NOTHING_KEPT,
    ) -> None:
        self._data_dir = data_dir
        self._limits = limits
        self._salt = salt
        self._converted = converted

    def process(self, element: Sequence[tuple[str, str]]) -> Iterator[str]:
        """Inspect the files."""

        def inspect(candidate: tuple[str, str]) -> str:
            return inspect_file(
                self._data_dir, Candidate(*candidate), self._limits, self._salt, self._converted
            ).to_json()

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            yield from pool.map(inspect, element)


class WriteShardFn(beam.DoFn):
    """Shard as JSON → JSON list of its path and what went wrong, empty if nothing did."""

    def __init__(
        self, data_dir: str, rendering: Rendering, converted: ConvertedImages = NOTHING_KEPT
    ) -> None:
        self._data_dir = data_dir
        self._rendering = rendering
        self._converted = converted

    def process(self, element: str) -> Iterator[str]:
        """Write one file."""
        shard = Shard.from_json(element)
        problem = write_shard(self._data_dir, shard, self._rendering, self._converted)
        yield json.dumps([shard.path, problem])


class RadiographExampleGenExecutor(BaseBeamExecutor):
    """Two Beam passes, one to inspect and one to write; decisions are made between them."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Write both output artifacts.

        Raises:
            InputError: the data folder, its metadata or the settings are at fault.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        settings = parse_settings(exec_properties)
        examples = artifact_utils.get_single_instance(output_dict[EXAMPLES_KEY])
        manifest = artifact_utils.get_single_instance(output_dict[MANIFEST_KEY])
        scratch = f"{examples.uri}/_scratch"
        tf.io.gfile.makedirs(scratch)
        try:
            converted = ConvertedImages.below(scratch)
            expected = exec_properties.get(INPUT_FINGERPRINT)
            decision = self._decide(settings, expected, scratch, converted)
            converted.drop_others(
                {
                    image.inspection.file_digest
                    for split in contract.SPLITS
                    for image in decision.chosen(split)
                }
            )
            self._write_examples(settings, decision, examples, scratch, converted)
        finally:
            tf.io.gfile.rmtree(scratch)
        _write_manifest(settings, decision, manifest)

    def _decide(
        self, settings: Settings, expected: str | None, scratch: str, converted: ConvertedImages
    ) -> Decision:
        folder = look(settings)
        salt = salt_for(each.path for each in folder.found.candidates)
        inspect = InspectFn(settings.data_dir, settings.limits, salt.value, converted)
        inspections = self._inspect(folder.found, scratch, inspect)
        files = ((item.path, item.size, item.file_digest) for item in inspections)
        conversions = (*(item.conversion for item in inspections), salt.name)
        seen = fingerprint(files, folder.found, folder.metadata, conversions)
        if expected and seen != expected:
            raise InputError(f"{_CHANGED}: start it again when nothing writes to it.")
        whole = with_headers(settings, folder, inspections)
        return decide(settings, sift(settings, whole, inspections), read_kept(settings))

    def _inspect(self, found: Discovery, scratch: str, inspect: InspectFn) -> list[Inspection]:
        elements = [(candidate.path, candidate.class_name) for candidate in found.candidates]
        chunks = [elements[at : at + _CHUNK] for at in range(0, len(elements), _CHUNK)]
        lines = self._map_to_lines(chunks, inspect, scratch, "inspect")
        # A retried bundle or a runner at fault must not change the counts unnoticed.
        by_path = {item.path: item for item in map(Inspection.from_json, lines)}
        if len(by_path) != len(elements):
            raise RuntimeError(
                f"Beam inspected {len(by_path)} of {len(elements)} images: the runner lost data."
            )
        return [by_path[path] for path, _ in elements]

    def _write_examples(
        self,
        settings: Settings,
        decision: Decision,
        examples: types.Artifact,
        scratch: str,
        converted: ConvertedImages,
    ) -> None:
        examples.split_names = artifact_utils.encode_split_names(list(contract.SPLITS))
        examples_utils.set_payload_format(examples, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
        examples_utils.set_file_format(examples, "tfrecords_gzip")
        labels = {name: index for index, name in enumerate(settings.class_names)}
        training = decision.chosen(contract.SPLIT_TRAIN) if settings.table else ()
        slicing = Slicing.of(settings.table, (image.row.table for image in training if image.row))
        shards = []
        for split in contract.SPLITS:
            folder = artifact_utils.get_split_uri([examples], split)
            tf.io.gfile.makedirs(folder)
            records = [
                make_record(
                    image.inspection,
                    image.row,
                    labels[image.inspection.class_name],
                    settings.columns,
                    group=decision.groups[image.inspection.sha256],
                    slicing=slicing,
                )
                for image in decision.chosen(split)
            ]
            shards.extend(plan_shards(records, folder, scratch))
        plans = [shard.to_json() for shard in shards]
        write = WriteShardFn(settings.data_dir, settings.limits.rendering, converted)
        lines = self._map_to_lines(plans, write, scratch, "write")
        outcomes = dict(map(json.loads, lines))
        if len(outcomes) != len(shards):
            raise RuntimeError(
                f"Beam wrote {len(outcomes)} of {len(shards)} shards: the runner lost data."
            )
        for problem in filter(None, outcomes.values()):
            raise InputError(f"{_CHANGED}: {problem}. Start it again.")

    def _map_to_lines(
        self, elements: Sequence[Any], function: beam.DoFn, scratch: str, name: str
    ) -> list[str]:
        prefix = f"{scratch}/{name}"
        # In a file: what `Create` holds is part of the job's graph, and runners elsewhere
        # refuse graphs of some megabytes.
        todo = f"{scratch}/to_{name}.jsonl"
        with tf.io.gfile.GFile(todo, "w") as file:
            for element in elements:
                file.write(json.dumps(element) + "\n")
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Read" >> beam.io.ReadFromText(todo)
                | "Parse" >> beam.Map(json.loads)
                | "Spread" >> beam.Reshuffle()
                | "Apply" >> beam.ParDo(function)
                | "Keep" >> beam.io.WriteToText(prefix)
            )
        lines = []
        for path in sorted(tf.io.gfile.glob(prefix + "-*-of-*")):
            with tf.io.gfile.GFile(path, "rb") as file:
                lines.extend(file.read().decode("utf-8").splitlines())
        return lines


def _write_manifest(settings: Settings, decision: Decision, manifest: types.Artifact) -> None:
    summary = summarize(settings, decision)
    write_manifest(manifest.uri, decision.entries(), decision.left_out, summary)
    used = ((split, image) for split in contract.SPLITS for image in decision.chosen(split))
    write_image_facts(manifest.uri, used)
    if decision.merged:
        last_two = [span.number for span in settings.spans][-2:]
        facts = [(number, decision.merged.used(number)) for number in last_two]
        write_span_facts(manifest.uri, facts, settings.table)
        write_kept(manifest.uri, settings, decision.merged.split.kept)
    manifest.set_string_custom_property("counts", to_json(summary.counts))
    manifest.set_string_custom_property("digest", summary.digest)
    manifest.set_int_custom_property("duplicates_dropped", summary.duplicates_dropped)
    manifest.set_int_custom_property("left_out", len(decision.left_out))
    if summary.patients_in_two_splits is not None:
        manifest.set_int_custom_property("patients_in_two_splits", summary.patients_in_two_splits)
    logging.info("Split %s, %d left out", summary.split_counts, sum(summary.left_out.values()))
