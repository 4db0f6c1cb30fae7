"""Asks a server with NVIDIA's `tritonclient`, over HTTP and gRPC, and says what came.

A script of its own: tritonclient's gRPC needs protobuf 6, and TFX 1.16 protobuf 3. It imports
nothing of this project. In an environment with `tritonclient[http,grpc]`:

    python tests/serving/triton_client.py 127.0.0.1:8501 127.0.0.1:8500

The server has the models of `python -m serving.conformance --write-models DIR`.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import tritonclient.grpc as by_grpc
import tritonclient.http as by_http


def ask(module: Any, address: str, **named: Any) -> dict[str, Any]:
    """Ask everything that this project answers.

    Args:
        module: `tritonclient.http` or `tritonclient.grpc`.
        address: host and port.
        named: arguments of `set_data_from_numpy`: whether data are binary.
    """
    client = module.InferenceServerClient(address)
    found: dict[str, Any] = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model": client.is_model_ready("two"),
        "version": client.is_model_ready("two", "1"),
        "none": client.is_model_ready("two", "9") if module is by_http else False,
    }
    as_json = {"as_json": True} if module is by_grpc else {}
    found["server"] = client.get_server_metadata(**as_json)["name"]
    found["metadata"] = client.get_model_metadata("two", **as_json)
    inputs = [module.InferInput(name, [3], "FP32") for name in "ab"]
    inputs[0].set_data_from_numpy(np.array([1, 2.5, -3], np.float32), **named)
    inputs[1].set_data_from_numpy(np.array([10, 20, 1e30], np.float32), **named)
    answer = client.infer("two", inputs, request_id="seven")
    found["sum"] = answer.as_numpy("sum").tolist()
    found["pairs"] = answer.as_numpy("pairs").shape
    found["id"] = answer.get_response(**as_json)["id"]
    outputs = [module.InferRequestedOutput("sum", **({"binary_data": False} if named else {}))]
    answer = client.infer("two", inputs, model_version="1", outputs=outputs)
    found["one"] = answer.as_numpy("sum").tolist()
    found["other"] = answer.as_numpy("pairs") is None
    content = [b"\x89PNG\x00\xff", b"", "é".encode()]
    text = module.InferInput("text", [3], "BYTES")
    text.set_data_from_numpy(np.array(content, np.object_))
    answer = client.infer("text", [text])
    found["text"] = answer.as_numpy("same_bytes").tolist() == content
    half = module.InferInput("x", [2, 1], "FP16")
    half.set_data_from_numpy(np.array([[1.5], [2]], np.float16))
    answer = client.infer("types", [half], parameters={"signature_name": "float16"})
    found["half"] = answer.as_numpy("y").dtype.name
    try:
        client.infer("no", [text])
    except module.InferenceServerException as error:
        found["error"] = error.message()
    client.close()
    return found


if __name__ == "__main__":
    http_address, grpc_address = sys.argv[1:]
    results = {
        "http, binary": ask(by_http, http_address),
        "http, JSON": ask(by_http, http_address, binary_data=False),
        "grpc": ask(by_grpc, grpc_address),
    }
    print(json.dumps(results))
