"""What Docker knows of GPUs: who holds which device, how a container asks for some, and whether it can give any."""

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
NONE = "void"  # an image may say "all", which a daemon whose default runtime is NVIDIA's would obey
LIVE = ("created", "running", "paused", "restarting")
NO_DRIVER_ANSWER = "could not select device driver"
NO_DRIVER = (
    "Docker gives no GPUs to containers: install nvidia-container-toolkit, restart Docker, then the runner;"
    " until then it offers none"
)


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The container that has a device. `runner` is the id of its runner, which may not be this one."""

    container_id: str
    execution: str
    runner: str


def requests(uuids: Sequence[str]) -> list[DeviceRequest]:
    """Whole devices by UUID and never a number: which ones is our choice, not Docker's."""
    return [DeviceRequest(device_ids=list(uuids), capabilities=[["gpu"]])] if uuids else []


def variable(uuids: Sequence[str]) -> dict[str, str]:
    """What tells NVIDIA's runtime which devices a container may see."""
    return {VISIBLE: ",".join(uuids) or NONE}


class Devices:
    """The GPUs as one Docker knows them. Raises PushmillError where it does not answer."""

    def __init__(self, api: APIClient) -> None:
        self._api = api

    def holders(self) -> dict[str, Holder]:
        """Who has which device: live containers of any runner on this Docker, one that is only made included."""
        with known("which GPUs are taken"):
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
        """The UUIDs of a container's devices, in their order."""
        with known(f"which GPUs container {container_id[:12]} has"):
            labels = self._api.inspect_container(container_id)["Config"]["Labels"]
        return [uuid for uuid in labels.get(LABEL, "").split(",") if uuid]

    def why_none(self, uuid: str) -> str:
        """Why Docker gives containers no GPU, "" when it does: a container is started that has no program to run.

        Trying is the one way that holds for hooks, runtimes and CDI alike: which of them a daemon uses it tells nobody.
        """
        with known("whether it gives GPUs to containers"):
            image = json.loads(self._api.import_image_from_data(_empty_tar()))["status"]
            try:
                return NO_DRIVER if NO_DRIVER_ANSWER in self._refusal(image, uuid) else ""
            finally:
                self._api.remove_image(image, force=True)

    def _refusal(self, image: str, uuid: str) -> str:
        """What Docker answers to the start of a container that asks for the device."""
        api = self._api
        host_config = api.create_host_config(device_requests=requests([uuid]), network_mode="none")
        container = api.create_container(image, ["/none"], host_config=host_config, environment=variable([uuid]))
        try:
            api.start(container["Id"])
        except APIError as error:
            return str(error.explanation or error)
        finally:
            with contextlib.suppress(APIError):
                api.remove_container(container["Id"], v=True, force=True)
        return ""


@contextlib.contextmanager
def known(what: str) -> Iterator[None]:
    """Raise PushmillError where Docker does not say so."""
    try:
        yield
    except (DockerException, OSError) as error:
        text = error.explanation if isinstance(error, APIError) else error
        raise PushmillError(f"Docker does not say {what}: {' '.join(str(text).split())[:1000]}") from None


def _empty_tar() -> bytes:
    file = io.BytesIO()
    tarfile.open(fileobj=file, mode="w").close()
    return file.getvalue()
