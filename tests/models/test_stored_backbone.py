"""What lies beside stored weights, and when features mean the same."""

from __future__ import annotations

from pathlib import Path

from models.stored_backbone import features_digest, read_image_size, write_facts
from schema import contract


def test_the_size_is_read_as_it_was_written_and_weights_alone_see_the_whole_image(
    tmp_path: Path,
) -> None:
    assert read_image_size(str(tmp_path)) == 256
    write_facts(str(tmp_path), image_size=128)
    assert read_image_size(str(tmp_path)) == 128


def test_features_mean_the_same_where_weights_size_and_computation_are_the_same(
    tmp_path: Path,
) -> None:
    def digest(computed_by: str = "engine", weights: bytes = b"w" * 3, size: int = 256) -> str:
        (tmp_path / contract.BACKBONE_WEIGHTS_FILE).write_bytes(weights)
        write_facts(str(tmp_path), image_size=size)
        return features_digest(computed_by, str(tmp_path))

    assert digest() == digest()
    different = {digest(), digest("another"), digest(weights=b"v"), digest(size=128)}
    assert len(different) == 4
