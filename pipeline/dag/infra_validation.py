"""The node that has a model served before it is pushed."""

from __future__ import annotations

from typing import Final

from tfx import v1 as tfx

from common.code_digest import code_digest
from components.infra_check import InfraCheck
from components.radiograph_example_gen import RadiographExampleGen
from pipeline.config.nodes import InfraValidationConfig
from pipeline.resolve.docker import SERVING_IMAGE, docker_host
from schema import contract

# InfraValidator waits that long for a server that has died, too, and by default for five minutes
# and five times. A server needs seconds for a model; the second try is for a daemon's hiccup.
_LOADING_SECONDS: Final = 120
_TRIES: Final = 2


def infra_validation(
    name: str,
    config: InfraValidationConfig,
    example_gen: RadiographExampleGen,
    model_from: tfx.dsl.components.BaseNode,
    precision_files: tfx.types.BaseChannel | None = None,
) -> tfx.dsl.components.BaseNode | None:
    """Build a node whose `blessing` is an InfraBlessing, or none.

    Args:
        name: of the model.
        config: which kind of node.
        example_gen: whose images are sent.
        model_from: Trainer or ModelCombiner.
        precision_files: ServingPrecision's, where there is one.
    """
    if config.mode == "off":
        return None
    examples = example_gen.outputs["examples"]
    if config.mode == "embedded":
        return InfraCheck(
            model=model_from.outputs["model"],
            model_run=model_from.outputs["model_run"],
            examples=examples,
            images=config.images,
            code_digest=code_digest("components.infra_check.executor", "serving.commands.serve"),
            precision_files=precision_files,
        ).with_id(f"InfraCheck.{name}")
    validator = tfx.components.InfraValidator(
        model=model_from.outputs["model"],
        examples=examples,
        serving_spec=tfx.proto.ServingSpec(
            tensorflow_serving=tfx.proto.TensorFlowServing(
                image_name=SERVING_IMAGE, tags=config.docker_tags
            ),
            # It doesn't read DOCKER_HOST by itself; and of the ports that Docker opens it takes
            # IPv4's, where `localhost` may lead to IPv6's.
            local_docker=tfx.proto.LocalDockerConfig(
                client_base_url=docker_host(), host_ip_address="127.0.0.1"
            ),
        ),
        validation_spec=tfx.proto.ValidationSpec(
            max_loading_time_seconds=_LOADING_SECONDS, num_tries=_TRIES
        ),
        request_spec=tfx.proto.RequestSpec(
            tensorflow_serving=tfx.proto.TensorFlowServingRequestSpec(
                signature_names=[contract.SIGNATURE_EXAMPLES]
            ),
            split_name=contract.SPLIT_TEST,
            num_examples=config.images,
        ),
    )
    return validator.with_id(f"InfraValidator.{name}")
