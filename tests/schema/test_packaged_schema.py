"""The schema that comes with the project names the contract's features, all and only."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.tfxio import tensor_representation_util

from schema import SCHEMA_DIR, contract

FEATURES = {
    contract.IMAGE, contract.LABEL, contract.LABEL_TEXT, contract.PATH, contract.SHA256,
    contract.WIDTH, contract.HEIGHT, contract.BYTES, contract.MEAN, contract.STD,
    contract.ENTROPY, contract.GROUP, *contract.METADATA_TEXT_COLUMNS.values(),
    *contract.METADATA_NUMBER_COLUMNS.values(),
}  # fmt: skip


@pytest.fixture(scope="module")
def schema() -> schema_pb2.Schema:
    """The packaged schema; parsing it is part of the test."""
    return text_format.Parse((SCHEMA_DIR / "schema.pbtxt").read_text(), schema_pb2.Schema())


def test_every_feature_of_the_contract_and_no_other(schema: schema_pb2.Schema) -> None:
    assert sorted(feature.name for feature in schema.feature) == sorted(FEATURES)


def test_every_feature_has_its_tensor(schema: schema_pb2.Schema) -> None:
    tensors = tensor_representation_util.GetTensorRepresentationsFromSchema(schema)
    assert tensors.keys() == FEATURES
    for name, tensor in tensors.items():
        sparse = tensor.HasField("varlen_sparse_tensor")
        assert sparse == (name == contract.AGE)
        kind = tensor.varlen_sparse_tensor if sparse else tensor.dense_tensor
        assert kind.column_name == name
        if not sparse:
            assert not tensor.dense_tensor.shape.dim


def test_only_age_may_be_missing_and_pixels_are_not_counted(schema: schema_pb2.Schema) -> None:
    optional = {f.name for f in schema.feature if f.presence.min_fraction != 1}
    assert optional == {contract.AGE, *contract.PIXEL_FEATURES}


def test_domains_exist_and_know_the_empty_cell(schema: schema_pb2.Schema) -> None:
    domains = {domain.name: domain.value for domain in schema.string_domain}
    named = {f.domain: f.name for f in schema.feature if f.domain}
    assert named.keys() == domains.keys()
    for values in domains.values():
        assert contract.UNKNOWN in values
