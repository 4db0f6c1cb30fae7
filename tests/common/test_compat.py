"""What differs between the generations comes out the same in the one that is installed.

That TensorFlow itself starts quietly is shown in tests/pipeline/test_quick_import.py.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from google.protobuf import api_pb2

from common.compat import ask_kfp_health, keep_start_quiet, whole_message

ROOT = Path(__file__).parents[2]

# A stand-in for TensorFlow, whose library writes while it is loaded.
_LOUD = """
import os
os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\\n")
os.write(2, b"I0000 00:00:1795681339.040851    8224 cudart_stub.cc:31] Could not find cuda\\n")
os.write(2, b"E0000 00:00:1795681345.203661    8224 platform.cc:52] out of memory\\n")
"""  # noqa: E501


def test_a_whole_message_has_its_defaults_under_its_fields_own_names() -> None:
    assert whole_message(api_pb2.Mixin(name="a")) == {"name": "a", "root": ""}
    whole = whole_message(api_pb2.Method(request_streaming=True))
    assert (whole["request_streaming"], whole["response_streaming"]) == (True, False)


@pytest.mark.parametrize("name", ["get_healthz", "healthz_service_get_healthz"])
def test_the_health_is_asked_under_either_name(name: str) -> None:
    assert ask_kfp_health(SimpleNamespace(**{name: lambda: "well"})) == "well"


def test_kfp_has_one_of_the_names() -> None:
    import kfp_server_api

    api = kfp_server_api.HealthzServiceApi
    assert {"get_healthz", "healthz_service_get_healthz"} & set(dir(api))


def _run(code: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a fresh process."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def _imported(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    (folder / "tensorflow.py").write_text(code)
    return _run(
        f"import sys; sys.path.insert(0, {str(folder)!r})\n"
        "from common.compat import keep_start_quiet\n"
        "keep_start_quiet(); keep_start_quiet()\n"
        "import os, tensorflow\n"
        "os.write(2, b'I0000 00:00:1 later\\n')"
    )


def test_only_information_is_left_out_and_only_while_loading(tmp_path: Path) -> None:
    ran = _imported(tmp_path, _LOUD)
    assert ran.returncode == 0
    assert ran.stderr.splitlines() == [
        "E0000 00:00:1795681345.203661    8224 platform.cc:52] out of memory",
        "I0000 00:00:1 later",
    ]


def test_an_import_that_fails_says_why(tmp_path: Path) -> None:
    ran = _imported(tmp_path, _LOUD + "raise ImportError('no such library')")
    assert ran.returncode == 1
    assert "out of memory" in ran.stderr
    assert "ImportError: no such library" in ran.stderr


def test_the_warning_of_another_keras_is_left_out_and_others_are_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    keep_start_quiet()
    absl = logging.getLogger("absl")
    with caplog.at_level(logging.WARNING, "absl"):
        absl.warning("TF_USE_LEGACY_KERAS is set to %s, which will not use Keras 2.", "0")
        absl.warning("TF_USE_LEGACY_KERAS: something else")
    assert caplog.messages == ["TF_USE_LEGACY_KERAS: something else"]


def test_no_other_module_asks_which_version_it_runs_on() -> None:
    asking = re.compile(r"sys\.version_info|__version__\s*[<>=]|VERSION\s*[<>=]|parse_version")
    found = {
        file.relative_to(ROOT).as_posix()
        for folder in ("common", "components", "models", "pipeline", "schema", "serving")
        for file in (ROOT / folder).rglob("*.py")
        if asking.search(file.read_text(encoding="utf-8"))
    }
    # The doctor looks at what is installed, and says so, and a pool of Beam's workers tells a run
    # what it has; neither does anything differently.
    said = {"pipeline/doctor.py", "pipeline/beam/pool_state.py"}
    assert found <= {*said, "common/generations.py"}
