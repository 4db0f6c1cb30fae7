"""A stand-in for the API server of Kubeflow Pipelines 2: its v2beta1 REST calls, in memory.

It answers what kfp.Client 2.5 asks, over real HTTP on loopback, in the shapes that the real one
(2.17) answers: test_api_stand_in.py compares them. It keeps all requests, and fails on demand. It
runs nothing: a run's states are a script, one snapshot a look.
"""

from __future__ import annotations

import email
import email.message
import http.server
import json
import re
import ssl
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.pipeline.kubeflow.refusals import RefusedError, checked, wrong_parameters
from tests.pipeline.kubeflow.run_nodes import GOOD_RUN, NEVER

_PREFIX: Final = "/apis/v2beta1"
_UPLOADS: Final = "POST /pipelines/upload"


@dataclass(frozen=True)
class Fault:
    """An answer in place of the right one; without a status the connection is cut."""

    status: int | None = None
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    # Cut after this many bytes of the right answer.
    cut_after: int = 0


@dataclass(frozen=True)
class Request:
    """What came in."""

    call: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def upload(self) -> tuple[str, bytes]:
        """Name and content of the file in a multipart request's field `uploadfile`."""
        head = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        message = email.message_from_bytes(head + self.body)
        for part in message.walk():
            if part.get_param("name", header="content-disposition") == "uploadfile":
                content = part.get_payload(decode=True)
                assert isinstance(content, bytes)
                return str(part.get_filename()), content
        raise AssertionError("no field uploadfile")


class StandIn:
    """The server's state, its script and its faults.

    Attributes:
        token: without it as the bearer token, each call is a 401; None lets all in.
        script: what a run looks like at each look; the last stays.
        faults: a call, such as `GET /runs/{}`, to what it answers first; one fault a call.
        before: a call to what happens in the server just before it, once.
        requests: all that came in, oldest first.
    """

    def __init__(self, certificate: Path | None = None) -> None:
        self.token: str | None = None
        self.multi_user = False
        self.script: Sequence[Mapping[str, Any]] = GOOD_RUN
        self.faults: dict[str, list[Fault]] = {}
        self.before: dict[str, Callable[[], object]] = {}
        self.requests: list[Request] = []
        self.pipelines: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, dict[str, Any]] = {}
        self.experiments: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.looks = 0
        self._lock = threading.Lock()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self.server.server_port}"

    def calls(self) -> list[str]:
        return [request.call for request in self.requests]

    def of(self, call: str) -> list[Request]:
        return [request for request in self.requests if request.call == call]

    def take(self, request: Request) -> tuple[Fault | None, int, Any]:
        """The fault to show, or the right answer."""
        with self._lock:
            self.requests.append(request)
            try:
                if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
                    raise RefusedError(16, "Failed to authenticate: ", "no identity")
                if happens := self.before.pop(request.call, None):
                    happens()
                queue = self.faults.get(request.call)
                fault = queue.pop(0) if queue else None
                if fault and not fault.cut_after:
                    return fault, 0, None
                return fault, 200, self._answer(request)
            except RefusedError as error:
                return None, error.status, error.body(request.call.startswith(_UPLOADS))

    def add_pipeline(self, name: str, content: bytes, description: str = "") -> dict[str, Any]:
        made = {
            "pipeline_id": str(uuid.uuid4()),
            "display_name": name,
            "name": name,
            **({"description": description} if description else {}),
            "created_at": _now(),
        }
        self.pipelines[made["pipeline_id"]] = made
        # The real server, too, names the first version after the pipeline.
        self.add_version(made["pipeline_id"], name, content, description)
        return made

    def add_version(
        self, pipeline_id: str, name: str, content: bytes, description: str = ""
    ) -> dict[str, Any]:
        made = {
            "pipeline_id": pipeline_id,
            "pipeline_version_id": str(uuid.uuid4()),
            "display_name": name,
            "name": name,
            **({"description": description} if description else {}),
            "created_at": _now(),
            "pipeline_spec": next(yaml.safe_load_all(content)),
        }
        self.versions[made["pipeline_version_id"]] = made
        return made

    def _answer(self, request: Request) -> Any:
        query = request.query
        if request.call == "GET /healthz":
            names = ("commit_sha", "tag_name")
            return {
                **dict.fromkeys(names, "unknown"),
                "multi_user": self.multi_user,
                "pipeline_store": "database",
            }
        if request.call == "GET /pipelines":
            return _listed("pipelines", _filtered(self.pipelines, query))
        if request.call == _UPLOADS:
            name, content = query["name"], checked(request.upload[1])
            if any(p["name"] == name for p in self.pipelines.values()):
                raise RefusedError(6, "Failed to create a pipeline and a pipeline version")
            return self.add_pipeline(name, content, query.get("description", ""))
        if request.call == f"{_UPLOADS}_version":
            return self._new_version(request)
        if request.call == "GET /pipelines/{}/versions":
            return self._versions(request)
        if request.call == "GET /experiments":
            return _listed("experiments", _filtered(self.experiments, query))
        if request.call == "POST /experiments":
            made = {
                "experiment_id": str(uuid.uuid4()),
                **request.json,
                "created_at": _now(),
                "storage_state": "AVAILABLE",
                "last_run_created_at": NEVER,
            }
            self.experiments[made["experiment_id"]] = made
            return made
        if request.call == "POST /runs":
            return self._new_run(request.json)
        if request.call == "GET /runs/{}":
            run_id = request.query["{}"]
            if run_id not in self.runs:
                why = f"Run {run_id} not found"
                raise RefusedError(5, "Failed to get a run: ResourceNotFoundError: ", why)
            look = min(self.looks, len(self.script) - 1)
            self.looks += 1
            return {**self.runs[run_id], **self.script[look]}
        raise RefusedError(5, "Not Found")

    def _new_version(self, request: Request) -> Any:
        pipeline_id, name = request.query["pipelineid"], request.query["name"]
        if pipeline_id not in self.pipelines:
            raise RefusedError(3, "Failed to create a pipeline version")
        content = checked(request.upload[1])
        if any(
            v["pipeline_id"] == pipeline_id and v["name"] == name for v in self.versions.values()
        ):
            raise RefusedError(6, "Failed to create a pipeline version")
        return self.add_version(pipeline_id, name, content, request.query.get("description", ""))

    def _versions(self, request: Request) -> Any:
        """Two a page, so that paging is seen."""
        found = [v for v in self.versions.values() if v["pipeline_id"] == request.query["{}"]]
        begin = int(request.query.get("page_token") or 0)
        answer = _listed("pipeline_versions", found[::-1][begin : begin + 2], len(found))
        if begin + 2 < len(found):
            answer["next_page_token"] = str(begin + 2)
        return answer

    def _new_run(self, body: Any) -> Any:
        failed, version = "Failed to create a new run: ", self._version_of(body)
        experiment = body["experiment_id"]
        if experiment not in self.experiments:
            raise RefusedError(
                5,
                f"{failed}Failed to create a run due to invalid experimentId and namespace "
                f"combination: Failed to fetch namespace for experiment {experiment}: Failed to "
                f"fetch namespace from experiment {experiment}: ResourceNotFoundError: ",
                f"Experiment {experiment} not found",
            )
        if why := wrong_parameters(version, body.get("runtime_config", {}).get("parameters", {})):
            raise RefusedError(
                3,
                f"{failed}Failed to generate the ExecutionSpec: invalid pipeline job inputs: "
                "Invalid input error: ",
                why,
            )
        made = {
            "experiment_id": experiment,
            "run_id": str(uuid.uuid4()),
            "display_name": body["display_name"],
            "storage_state": "AVAILABLE",
            "pipeline_version_reference": body["pipeline_version_reference"],
            **({"runtime_config": body["runtime_config"]} if body["runtime_config"] else {}),
            "service_account": "pipeline-runner",
            "created_at": _now(),
            "scheduled_at": _now(),
            "finished_at": NEVER,
            "state": "PENDING",
            "state_history": [{"update_time": _now(), "state": "PENDING"}],
        }
        self.runs[made["run_id"]] = made
        return made

    def _version_of(self, body: Any) -> Mapping[str, Any]:
        failed = (
            "Failed to create a new run: InternalServerError: Failed to create a run due to error "
            "fetching manifest: Failed to fetch a template due to error retrieving pipeline "
            "version: "
        )
        wanted = body["pipeline_version_reference"]
        pipeline, version = wanted["pipeline_id"], wanted["pipeline_version_id"]
        if version not in self.versions:
            why = (
                "Failed to fetch a pipeline version and its manifest from pipeline version "
                f"{version}: Failed to get a pipeline version with id {version}: "
                f"ResourceNotFoundError: PipelineVersion {version} not found"
            )
            raise RefusedError(13, f"{failed}{why}", "")
        found = self.versions[version]
        if found["pipeline_id"] != pipeline:
            raise RefusedError(
                13,
                f"{failed}Invalid input error: ",
                f"Pipeline version {version} belongs to pipeline {found['pipeline_id']} "
                f"(not {pipeline})",
            )
        return found


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _listed(name: str, things: list[Any], total: int | None = None) -> dict[str, Any]:
    """A list, which isn't there where it is empty."""
    return {name: things, "total_size": total or len(things)} if things else {}


def _filtered(things: Mapping[str, Any], query: Mapping[str, str]) -> list[Any]:
    predicates = json.loads(query["filter"])["predicates"] if "filter" in query else []
    return [
        thing
        for thing in things.values()
        if all(thing[p["key"]] == p["stringValue"] for p in predicates)
    ]


def _handler(stand_in: StandIn) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body in one packet: TCP waits 40 ms between two.
        wbufsize = -1

        def do_GET(self) -> None:
            self._handle()

        def do_POST(self) -> None:
            self._handle()

        def log_message(self, *_: Any) -> None:
            pass

        def _handle(self) -> None:
            url = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            path = url.path.removeprefix(_PREFIX)
            if found := re.fullmatch(r"(/runs/|/pipelines/)([0-9a-f-]{36})(/.*)?", path):
                query["{}"] = found[2]
                path = f"{found[1]}{{}}{found[3] or ''}"
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            fault, status, answer = stand_in.take(
                Request(f"{self.command} {path}", query, headers, body)
            )
            if fault and fault.status is not None:
                self._send(fault.status, fault.body.encode(errors="surrogateescape"), fault.headers)
            elif fault:
                self.close_connection = True
                if fault.cut_after:
                    content = json.dumps(answer).encode()
                    self.send_response(200)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content[: fault.cut_after])
            else:
                self._send(status, json.dumps(answer).encode(), {})

        def _send(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": str(len(content)),
                **headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    return Handler
