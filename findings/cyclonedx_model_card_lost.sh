#!/usr/bin/env bash
# cyclonedx-python-lib: a bill of materials that is read and written has lost its model cards.
#
# Software:  cyclonedx-python-lib 11.12.0, `Bom.from_json` and the JSON writer, schema 1.6.
# Guess:     what is read is written again; or, what the library has no class for raises. It has
#            the component type MACHINE_LEARNING_MODEL, so it has model cards.
# Behaviour: `modelCard` of a model and `data` of a data set are dropped without an error or a
#            warning. The result is valid, too, by the library's own strict validator. (That both
#            are missing stands in its issues, 911 to 913, open since 2025; that they are dropped
#            in silence doesn't.)
# Valid:     the same validator accepts the file, by the schema of CycloneDX 1.6.
# Matters:   merging, signing or enriching a bill of materials with the usual library takes away
#            what it says of a model's task, figures and limits: "not for diagnosis" is gone.
# Here:      the bill of materials is put together without the library
#            (components/serving_pusher/sbom.py); the model card is a file of its own, too.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    'cyclonedx-python-lib[json-validation]==11.12.0'
cd "$folder"
venv/bin/python -W error - <<'PYTHON'
import importlib.metadata
import json

from cyclonedx.model.bom import Bom
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

card = {
    "modelParameters": {"task": "classification"},
    "quantitativeAnalysis": {"performanceMetrics": [{"type": "accuracy", "value": "0.9"}]},
    "considerations": {"technicalLimitations": ["Not for diagnosis"]},
}
model = {"type": "machine-learning-model", "bom-ref": "model", "name": "vgg16", "modelCard": card}
images = {"type": "data", "bom-ref": "images", "name": "radiographs"}
images["data"] = [{"type": "dataset", "name": "train"}]


def bill(*components):
    """Return a bill of materials of these components."""
    start = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1}
    return {**start, "components": list(components)}


def problem(text):
    """Return what the strict validator has against a bill of materials, or None."""
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)


before = json.dumps(bill(images, model))
after = JsonV1Dot6(Bom.from_json(json.loads(before))).output_as_string()
kept = {part["name"]: sorted(part) for part in json.loads(after)["components"]}
print("cyclonedx-python-lib", importlib.metadata.version("cyclonedx-python-lib"))
print("valid before:", problem(before) is None, "after:", problem(after) is None)
for name, fields in kept.items():
    print(f"{name} has kept {fields}")
assert problem(before) is None and problem(after) is None, "changed: validity"
assert kept["vgg16"] == ["bom-ref", "name", "type"], "changed: the model card is kept"
assert kept["radiographs"] == ["bom-ref", "name", "type"], "changed: the data are kept"
PYTHON
