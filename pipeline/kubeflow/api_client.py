"""kfp.Client, tamed: it uses what it is given and nothing else, and its errors are sentences."""

from __future__ import annotations

import contextlib
import io
import json
import ssl
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import kfp
import kfp_server_api
import urllib3
from kfp.client import auth

from common.compat import ask_kfp_health
from pipeline.kubeflow.access import Access
from pipeline.kubeflow.api_errors import ApiError, answered, not_reached

# Seconds. An upload may take the server a while; a silent connection is no answer.
_TIMEOUT: Final = urllib3.Timeout(connect=15, read=60)
_EQUALS: Final = 1
_PAGE: Final = 100


class _Client(kfp.Client):
    """kfp.Client without kubeconfig, KF_PIPELINES_* variables, and ~/.config/kfp.

    It reads all three by itself, and any of them may lead to another server, or to tokens
    of another one.
    """

    def __init__(self, access: Access, namespace: str) -> None:
        self._access = access
        self._given_namespace = namespace
        self.multi_user = False
        with warnings.catch_warnings():
            # That it needs KFP 2; this project does, too.
            warnings.simplefilter("ignore")
            super().__init__(host=access.endpoint)
        self._limit_requests()

    def _load_config(self, *_: Any, **__: Any) -> Any:
        """Replace kfp's search for a server and for credentials."""
        config = kfp_server_api.Configuration(host=self._access.endpoint)
        # A second upload or run is worse than an error; a waiting caller tries again itself.
        config.retries = urllib3.Retry(0)
        if self._access.ca_cert is not None:
            config.ssl_ca_cert = str(self._access.ca_cert)
        if token := self._access.token:
            config.api_key["authorization"] = token.value()
            config.api_key_prefix["authorization"] = "Bearer"

            def refresh(config: Any) -> None:
                config.api_key["authorization"] = token.value()

            config.refresh_api_key_hook = refresh
        return config

    def _load_context_setting_or_default(self) -> None:
        self._context_setting = {"namespace": self._given_namespace}

    def set_user_namespace(self, namespace: str) -> None:
        """Set the namespace, without kfp's note of it in the home folder."""
        self._context_setting["namespace"] = namespace.strip()

    def get_kfp_healthz(self, sleep_duration: int = 5) -> Any:
        """Ask once; kfp would ask five times, 5 s apart, and log each traceback."""
        self._limit_requests()
        health = ask_kfp_health(self._healthz_api)
        self.multi_user = health.multi_user is True
        return health

    def _limit_requests(self) -> None:
        """Give each request a time limit, follow no redirect, and want JSON."""
        pool = self._healthz_api.api_client.rest_client.pool_manager
        send = urllib3.PoolManager.request

        def request(method: str, url: str, **options: Any) -> Any:
            options["timeout"] = options.get("timeout") or _TIMEOUT
            # A redirect leads to a sign-in page, or the token to another server.
            response = send(pool, method, url, redirect=False, **options)
            if 200 <= response.status < 300:
                try:
                    json.loads(response.data)
                except ValueError as error:
                    # kfp would take it for an object without fields.
                    raise urllib3.exceptions.DecodeError("the answer is no JSON") from error
            return response

        pool.request = request


class Api:
    """The calls that a submission makes. Each raises ApiError when it fails."""

    def __init__(self, access: Access, namespace: str | None) -> None:
        """Connect.

        Args:
            access: to which server, with what token.
            namespace: the user's, of a server for many users; None where there is only one.

        Raises:
            ApiError: the server can't be reached, or wants another token.
        """
        self._access = access
        with self._calling("ask the API server for its health"):
            self._client = _Client(access, namespace or "")

    @property
    def needs_namespace(self) -> bool:
        """True where the server is for many users, and none of their namespaces is known."""
        return self._client.multi_user and not self._client.get_user_namespace()

    def run_url(self, run_id: str) -> str:
        """Return the run's page, where the UI is served under the API's address."""
        return f"{self._access.endpoint}/#/runs/details/{run_id}"

    def pipeline_id(self, name: str) -> str | None:
        """Find the id of the pipeline of that name; None where there is none."""
        with self._calling(f"look up the pipeline {name!r}"):
            listed = self._client.list_pipelines(
                filter=_named(name), namespace=self._namespace, page_size=_PAGE
            )
        found = [p for p in listed.pipelines or [] if p.display_name == name]
        return str(found[0].pipeline_id) if found else None

    def versions(self, pipeline_id: str) -> list[Any]:
        """List all versions of a pipeline, newest first, as kfp_server_api hands them over."""
        versions: list[Any] = []
        page = ""
        while True:
            with self._calling("list the pipeline's versions"):
                listed = self._client.list_pipeline_versions(
                    pipeline_id, page_token=page, page_size=_PAGE, sort_by="created_at desc"
                )
            versions += listed.pipeline_versions or []
            page = listed.next_page_token or ""
            if not page:
                return versions

    def upload(self, content: bytes, name: str, description: str) -> str:
        """Upload a new pipeline with a first version.

        Returns:
            The pipeline's id.
        """
        with self._calling(f"upload the pipeline {name!r}"), _as_file(content) as file:
            made = self._client.upload_pipeline(file, name, description, self._namespace)
            return _id(made.pipeline_id)

    def upload_version(
        self, content: bytes, pipeline_id: str, version_name: str, description: str
    ) -> str:
        """Upload a version of a pipeline.

        Returns:
            The version's id.
        """
        with self._calling(f"upload the version {version_name!r}"), _as_file(content) as file:
            made = self._client.upload_pipeline_version(
                file, version_name, pipeline_id=pipeline_id, description=description
            )
            return _id(made.pipeline_version_id)

    def experiment_id(self, name: str) -> str:
        """Find the id of the experiment of that name, which is made where there is none."""
        with self._calling(f"look up or make the experiment {name!r}"):
            return _id(self._client.create_experiment(name).experiment_id)

    def start(
        self,
        *,
        experiment_id: str,
        name: str,
        pipeline_id: str,
        version_id: str,
        parameters: Mapping[str, Any],
        pipeline_root: str | None,
    ) -> str:
        """Start a run of an uploaded version.

        Returns:
            The run's id.
        """
        with self._calling(f"start the run {name!r}"):
            made = self._client.run_pipeline(
                experiment_id,
                name,
                params=dict(parameters),
                pipeline_id=pipeline_id,
                version_id=version_id,
                pipeline_root=pipeline_root,
            )
            return _id(made.run_id)

    def run(self, run_id: str) -> Any:
        """Return the run as it is now, as kfp_server_api hands it over."""
        with self._calling(f"ask for the run {run_id}", quiet=False):
            return self._client.get_run(run_id)

    @property
    def _namespace(self) -> str | None:
        return self._client.get_user_namespace() or None

    @contextlib.contextmanager
    def _calling(self, what: str, *, quiet: bool = True) -> Iterator[None]:
        try:
            with _without_links() if quiet else contextlib.nullcontext():
                yield
        except ApiError:
            raise
        except kfp_server_api.ApiException as error:
            raise answered(what, error.status, error.reason, error.body, self._access) from error
        except (urllib3.exceptions.HTTPError, OSError, UnicodeDecodeError) as error:
            raise not_reached(what, error, self._access) from error
        except (ValueError, AttributeError, ssl.SSLError) as error:
            # What kfp makes of an answer that it doesn't understand.
            text = self._access.hidden_in(f"Could not {what}: {error}")
            raise ApiError(text, status=None, passing=False) from error


def _id(value: str | None) -> str:
    if not value:
        raise ValueError("the answer has no id; is the endpoint an API of KFP 2 (v2beta1)?")
    return value


def _named(name: str) -> str:
    predicate = {"operation": _EQUALS, "key": "display_name", "stringValue": name}
    return json.dumps({"predicates": [predicate]})


@contextlib.contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """Write a file with just what was checked, whatever the user's own file holds by now."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pipeline.yaml"
        file.write_bytes(content)
        yield str(file)


@contextlib.contextmanager
def _without_links() -> Iterator[None]:
    """Keep back the link that kfp prints after each call (as HTML in a notebook)."""
    is_ipython = auth.is_ipython
    auth.is_ipython = lambda: False
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        auth.is_ipython = is_ipython
