"""The names and values of pipeline options that Beam knows."""

from __future__ import annotations

import argparse
import difflib
import warnings
from collections.abc import Sequence
from typing import Final, NoReturn

# absl's, which TFX fills from Beam's options.
_OF_TFX: Final = ("tfxio_",)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Raise instead of ending the process."""
        raise ValueError(message)


def flink_versions() -> list[str]:
    """List the minor versions of Flink that the installed Beam has a job server for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from apache_beam.options.pipeline_options import FlinkRunnerOptions

    return list(FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS)


def problem_with(arguments: Sequence[str]) -> str | None:
    """Say what is wrong with the first argument that Beam doesn't take; None where all are fine.

    Args:
        arguments: `--name=value` or `--name` each.
    """
    if not arguments:
        return None
    with warnings.catch_warnings():
        # Google's clients announce the end of Python 3.10.
        warnings.simplefilter("ignore")
        from apache_beam.options import pipeline_options

    parser = _Parser(allow_abbrev=False, add_help=False)
    for options in pipeline_options.PipelineOptions.__subclasses__():
        # Test classes of other packages may repeat a name.
        try:
            options._add_argparse_args(parser)
        except argparse.ArgumentError:
            continue
    known = parser._option_string_actions
    for argument in arguments:
        flag = argument.partition("=")[0]
        name = flag.lstrip("-")
        if flag in known or name.startswith(_OF_TFX):
            continue
        near = difflib.get_close_matches(flag, known, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"Beam has no option {flag}{hint}"
    try:
        parser.parse_known_args([a for a in arguments if not a.lstrip("-").startswith(_OF_TFX)])
    except (ValueError, argparse.ArgumentTypeError) as error:
        return str(error)
    return None
