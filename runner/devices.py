"""What Docker knows of GPUs: who holds which device, how a container asks for some, and whether it can give any."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass

from docker import APIClient
from docker.errors import APIError
from docker.types import DeviceRequest

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


def holders(api: APIClient) -> dict[str, Holder]:
    """Who has which device: live containers of any runner on this Docker, one that is only made included."""
    found = api.containers(all=True, filters={"label": LABEL, "status": list(LIVE)})
    return {
        uuid: Holder(
            container_id=container["Id"],
            execution=container["Labels"].get("pushmill.execution", ""),
            runner=container["Labels"].get("pushmill.runner", ""),
        )
        for container in found
        for uuid in container["Labels"][LABEL].split(",")
    }


def why_none(api: APIClient, uuid: str) -> str:
    """Why Docker gives containers no GPU, "" when it does: a container is started that has no program to run.

    Trying is the one way that holds for hooks, runtimes and CDI alike: which of them a daemon uses it tells nobody.
    """
    image = json.loads(api.import_image_from_data(_empty_tar()))["status"]
    try:
        return NO_DRIVER if NO_DRIVER_ANSWER in _refusal(api, image, uuid) else ""
    finally:
        api.remove_image(image, force=True)


def _refusal(api: APIClient, image: str, uuid: str) -> str:
    """What Docker answers to the start of a container that asks for the device."""
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


def _empty_tar() -> bytes:
    file = io.BytesIO()
    tarfile.open(fileobj=file, mode="w").close()
    return file.getvalue()
