"""GPUs in Docker: which container holds which device, how to request devices, and whether Docker can provide any.

Every container gets `NVIDIA_VISIBLE_DEVICES`, `void` without GPUs, because images set it to `all`.
"""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from docker import APIClient
from docker.errors import APIError, DockerException
from docker.types import DeviceRequest

from core.errors import PushmillError

LABEL = "pushmill.gpus"  # the UUIDs of its devices, joined with commas
VISIBLE = "NVIDIA_VISIBLE_DEVICES"
NONE = "void"  # overrides "all" in an image, which a daemon whose default runtime is NVIDIA's would obey
LIVE = ("created", "running", "paused", "restarting")
NO_DRIVER_ANSWER = "could not select device driver"
NO_DRIVER = (
    "Docker gives no GPUs to containers: install nvidia-container-toolkit, restart Docker, then the runner;"
    " until then it offers none"
)


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The container that has a device. `runner` is the id of its runner, which may be another one."""

    container_id: str
    execution: str
    runner: str


def make_requests(uuids: Sequence[str]) -> list[DeviceRequest]:
    """Request whole devices by UUID, never by count, so that pushmill and not Docker chooses the devices."""
    return [DeviceRequest(device_ids=list(uuids), capabilities=[["gpu"]])] if uuids else []


def make_variable(uuids: Sequence[str]) -> dict[str, str]:
    """The environment variable that tells NVIDIA's runtime which devices the container may see."""
    return {VISIBLE: ",".join(uuids) or NONE}


class Devices:
    """The GPUs of one Docker daemon. Methods raise PushmillError if it does not answer."""

    def __init__(self, api: APIClient) -> None:
        self._api = api

    def holders(self) -> dict[str, Holder]:
        """Map device UUIDs to the live containers that hold them, of any runner on this Docker.

        Created containers that have not been started count as live.
        """
        with translate_errors("which GPUs are taken"):
            found = self._api.containers(all=True, filters={"label": LABEL, "status": list(LIVE)})
        return {
            uuid: Holder(
                container_id=container["Id"],
                execution=container["Labels"].get("pushmill.execution", ""),
                runner=container["Labels"].get("pushmill.runner", ""),
            )
            for container in found
            for uuid in container["Labels"][LABEL].split(",")
        }

    def of(self, container_id: str) -> list[str]:
        """Return the UUIDs of a container's devices, in order."""
        with translate_errors(f"which GPUs container {container_id[:12]} has"):
            labels = self._api.inspect_container(container_id)["Config"]["Labels"]
        return [uuid for uuid in labels.get(LABEL, "").split(",") if uuid]

    def why_none(self, uuid: str) -> str:
        """Return why Docker cannot give GPUs to containers, or "" if it can.

        Tries to start a container from an empty image. A trial is the only check that works for hooks, runtimes and CDI
        alike: Docker has no API that says which of them it uses.
        """
        with translate_errors("whether it gives GPUs to containers"):
            image = json.loads(self._api.import_image_from_data(_empty_tar()))["status"]
            try:
                return NO_DRIVER if NO_DRIVER_ANSWER in self._refusal(image, uuid) else ""
            finally:
                self._api.remove_image(image, force=True)

    def _refusal(self, image: str, uuid: str) -> str:
        """Docker's error message when it starts a container that requests the device; "" if it succeeds."""
        api = self._api
        host_config = api.create_host_config(device_requests=make_requests([uuid]), network_mode="none")
        container = api.create_container(image, ["/none"], host_config=host_config, environment=make_variable([uuid]))
        try:
            api.start(container["Id"])
        except APIError as error:
            return str(error.explanation or error)
        finally:
            with contextlib.suppress(APIError):
                api.remove_container(container["Id"], v=True, force=True)
        return ""


@contextlib.contextmanager
def translate_errors(what: str) -> Iterator[None]:
    """Turn errors of Docker into a PushmillError that says `what` is unknown."""
    try:
        yield
    except (DockerException, OSError) as error:
        text = error.explanation if isinstance(error, APIError) else error
        raise PushmillError(f"Docker does not say {what}: {' '.join(str(text).split())[:1000]}") from None


def _empty_tar() -> bytes:
    file = io.BytesIO()
    tarfile.open(fileobj=file, mode="w").close()
    return file.getvalue()
