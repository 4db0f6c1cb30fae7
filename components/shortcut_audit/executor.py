"""Reads the examples once, looks for leaks and shortcuts, writes the report."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from absl import logging
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from components.radiograph_example_gen.manifest import read_manifest
from components.shortcut_audit.artifact import PASSED
from components.shortcut_audit.report import write_audit
from schema.table import TABLE_PROPERTY, from_json

EXAMPLES: Final = "examples"
MANIFEST: Final = "manifest"
AUDIT: Final = "audit"


class Executor(base_executor.BaseExecutor):
    """Audits a split."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Write `audit.json`; the run goes on, whatever it says."""
        # scikit-learn costs a second, and building the DAG needs none of it.
        from components.shortcut_audit.cells import read_cells
        from components.shortcut_audit.findings import findings
        from components.shortcut_audit.leaks import duplicates, patients
        from components.shortcut_audit.limits import Limits, failures
        from components.shortcut_audit.radiographs import read_radiographs
        from components.shortcut_audit.shortcuts import measure_shortcuts
        from components.shortcut_audit.table_findings import table_failures, table_findings
        from components.shortcut_audit.table_shortcuts import measure
        from models.by_patient import few_patients

        images = read_radiographs(artifact_utils.get_single_instance(input_dict[EXAMPLES]))
        entries = read_manifest(artifact_utils.get_single_uri(input_dict[MANIFEST]))
        alike = duplicates(images, exec_properties["min_correlation"])
        torn = patients(entries)
        shortcuts = measure_shortcuts(images, exec_properties["seed"])
        limits = Limits(
            **{field.name: exec_properties.get(field.name) for field in dataclasses.fields(Limits)}
        )
        found = findings(alike, torn, shortcuts)
        failed = failures(limits, alike["across_splits"], torn["across_splits"], shortcuts)
        of_table: dict[str, Any] = {}
        if columns := from_json(exec_properties.get(TABLE_PROPERTY)):
            cells = read_cells(artifact_utils.get_single_instance(input_dict[EXAMPLES]), columns)
            given_away = measure(columns, *cells, exec_properties["seed"])
            found += table_findings(given_away, few_patients(cells[2]))
            failed += table_failures(limits.max_table_auc, given_away)
            of_table = {"table": [shortcut.as_json() for shortcut in given_away]}
        for failure in failed:
            logging.error("Audit: %s", failure)
        audit = artifact_utils.get_single_instance(output_dict[AUDIT])
        content = {
            "passed": not failed,
            "failures": failed,
            "findings": [finding.sentence for finding in found],
            "weighed": [finding.as_json() for finding in found],
            "limits": dataclasses.asdict(limits),
            "duplicates": alike,
            "patients": torn,
            "shortcuts": [{"name": s.name} | dataclasses.asdict(s) for s in shortcuts],
            **of_table,
        }
        write_audit(audit.uri, content)
        audit.set_int_custom_property(PASSED, int(not failed))
        for name, counted in (("duplicates", alike), ("patients", torn)):
            audit.set_int_custom_property(f"{name}_across_splits", counted["across_splits"])
