"""Steps as fresh containers of the IR's own image."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from common.errors import InputError
from pipeline.kubeflow.ir import Task
from pipeline.kubeflow.processes import last_line
from pipeline.kubeflow.walk import Outcome

_GIGABYTE: Final = 1e9


class ContainerRunner:
    """Each step a container, under this user's id, without a network.

    The step sees the folders of the run at the paths that they have here, and nothing else of
    this machine.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        """Connect to the daemon that the environment names.

        Args:
            folders: that every step sees, and may write to.

        Raises:
            InputError: no daemon answers.
        """
        import docker

        self._docker: Any = docker
        try:
            self._client: Any = docker.from_env()
            self._client.ping()
        except docker.errors.DockerException as error:
            raise InputError(
                f"docker: no daemon answers ({error}); start Docker, or leave --docker out."
            ) from error
        self._volumes = {str(one): {"bind": str(one), "mode": "rw"} for one in folders}
        self._running: set[Any] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, task: Task, command: Sequence[str], log: Path) -> Outcome:
        """Run the command in the task's image, within the task's memory and cores."""
        log.parent.mkdir(parents=True, exist_ok=True)
        image = task.container["image"]
        resources = task.container.get("resources", {})
        memory = resources.get("memoryLimit")
        cores = resources.get("cpuLimit")
        try:
            container = self._client.containers.create(
                image,
                entrypoint=[command[0]],
                command=list(command[1:]),
                volumes=self._volumes,
                user=f"{os.getuid()}:{os.getgid()}",
                # A user without an entry in the image's passwd has no home.
                environment={"HOME": "/tmp"},
                network_mode="none",
                mem_limit=int(memory * _GIGABYTE) if memory else None,
                nano_cpus=int(min(cores, os.cpu_count() or 1) * 1e9) if cores else None,
            )
        except self._docker.errors.ImageNotFound:
            return Outcome(125, reason=f"no image {image}; build it from kubeflow/Dockerfile")
        with self._lock:
            if self._stopped:
                container.remove(force=True)
                return Outcome(1, reason="stopped")
            self._running.add(container)
        try:
            container.start()
            with log.open("wb") as output:
                for piece in container.logs(stream=True, follow=True):
                    output.write(piece)
            code = int(container.wait()["StatusCode"])
            container.reload()
            killed = container.attrs["State"].get("OOMKilled")
        finally:
            with self._lock:
                self._running.discard(container)
            container.remove(force=True)
        if killed:
            more = f"more than {memory:.1f} GB" if memory else "the machine has no more"
            return Outcome(code or 137, reason=f"out of memory: {more}")
        return Outcome(code, reason=last_line(log) if code else "")

    def stop(self) -> None:
        """Kill the containers."""
        with self._lock:
            self._stopped = True
            for container in self._running:
                container.kill()
