"""Gzip files that Beam writes."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest
from apache_beam.io.filesystem import CompressedFile, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from common.beam_gzip import LEVEL, quick_gzip

CONTENT = np.random.default_rng(0).integers(0, 9, 100_000, np.uint8).tobytes()


@pytest.fixture(autouse=True)
def as_beam_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever another test's import of TFX has done, and to be undone."""
    usual = CompressedFile._initialize_compressor
    usual = getattr(usual, "__wrapped__", usual)
    monkeypatch.setattr(CompressedFile, "_initialize_compressor", usual)


def written(path: Path, how: str) -> bytes:
    """What Beam writes of CONTENT."""
    with FileSystems.create(str(path), compression_type=how) as file:
        file.write(CONTENT)
    return path.read_bytes()


def test_it_is_gzip_at_the_quick_level_and_anybody_reads_it(tmp_path: Path) -> None:
    usual = written(tmp_path / "usual.gz", CompressionTypes.GZIP)
    quick_gzip()
    initialize = CompressedFile._initialize_compressor
    quick_gzip()
    assert CompressedFile._initialize_compressor is initialize
    quick = written(tmp_path / "quick.gz", CompressionTypes.GZIP)
    compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    assert quick == compressor.compress(CONTENT) + compressor.flush()
    assert gzip.decompress(quick) == gzip.decompress(usual) == CONTENT
    assert len(usual) < len(quick)
    with FileSystems.open(str(tmp_path / "quick.gz")) as file:
        assert file.read() == CONTENT


def test_what_is_no_gzip_stays(tmp_path: Path) -> None:
    before = written(tmp_path / "before", CompressionTypes.BZIP2)
    quick_gzip()
    assert written(tmp_path / "after", CompressionTypes.BZIP2) == before
