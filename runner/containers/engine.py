"""All access to Docker: images, the network, and one container per execution; GPUs through `devices`.

Everything that a container may do is a typed field of ContainerSpec; user input never goes into a HostConfig unchecked.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import DriverConfig, Healthcheck, LogConfig, Mount
from docker.utils import kwargs_from_env

from core.errors import ExecutionFailed, PushmillError
from core.states import FailureReason
from runner.containers import devices, firewall, registries, sandboxes
from runner.containers.images import Image
from runner.containers.mounts import HostMount
from runner.containers.pull_progress import iterate_pull_lines
from runner.containers.specs import ContainerSpec, Exit, FoundContainer, Network
from runner.logs.spool import MOUNTED, PROGRAMS

log = logging.getLogger(__name__)

COMMAND = ["/bin/sh", "/pushmill/main"]
WORKING_DIR = "/valohai/repository"
TERMINATE = ["/bin/sh", "-c", "kill -TERM -1"]  # the shell's own kill: few images have /bin/kill
TIMEOUT_S = 120
LOWER_LAYER = re.compile(r"lowerdir=([^,:]+),")
BRIDGE = "com.docker.network.bridge.name"
ICC = "com.docker.network.bridge.enable_icc"  # traffic between containers


class OverlayUnavailable(PushmillError):
    """Raised when the daemon cannot mount an overlay; the tree has to be copied instead."""


class EngineAway(ExecutionFailed):
    """Raised when the daemon cannot be reached, or the connection broke during a call."""


class Engine:
    """Client of one Docker daemon. Threads may share it; processes may not."""

    def __init__(self) -> None:
        try:
            self._api = docker.APIClient(version="auto", timeout=TIMEOUT_S, **kwargs_from_env())
        except DockerException as error:
            raise PushmillError(
                f"Docker cannot be reached: {error}; is the daemon running, and may we use it?"
            ) from None
        version = self._api.version()
        self._version = str(version.get("Version", ""))
        self.gpus = devices.Devices(self._api)
        self.sandboxes = sandboxes.Sandboxes(self._api, str(version.get("Arch", "")))
        self.overlay = True  # until a mount fails

    @property
    def version(self) -> str:
        return self._version

    def image(
        self,
        name: str,
        *,
        always_pull: bool,
        allow_registries: tuple[str, ...],
        status: Callable[[str], None],
        cancelled: Callable[[], bool],
    ) -> Image:
        """Return the image, pulled if it is missing and its registry is allowed. Raises ExecutionFailed."""
        before: dict[str, set[str]] | None = None
        try:
            found = None if always_pull else self._inspect_image(name)
            if found is None:
                registries.check(name, allow_registries)
                before = {image["Id"]: set(image["RepoTags"] or ()) for image in self._api.images(all=True)}
                self._pull(name, status, cancelled)
                found = self._inspect_image(name)
        except (DockerException, PushmillError, OSError) as error:
            raise _failed(FailureReason.IMAGE, f"The image {name} is not available", error) from None
        if found is None:
            raise ExecutionFailed(FailureReason.IMAGE, f"Docker has pulled the image {name}, but does not have it")
        id_, digests = str(found["Id"]), found.get("RepoDigests") or []
        digest = next((d for d in digests if d.partition("@")[0] == _repository(name)), id_)
        if before is None:
            return Image(id=id_, digest=digest)
        new_tags = frozenset(found.get("RepoTags") or ()) - before.get(id_, set())
        return Image(id=id_, digest=digest, pulled=id_ not in before, new_tags=new_tags)

    def remove_image(self, image_id: str, tags: Collection[str]) -> int | None:
        """Remove an image unless a container uses it or it has other tags than `tags`.

        Returns its size in bytes (0 if it did not exist), or None if it was not removed.
        """
        try:
            found = self._inspect_image(image_id)
            if found is None:
                return 0
            present = found.get("RepoTags") or []
            if set(present) - set(tags) or self._api.containers(all=True, filters={"ancestor": image_id}):
                return None
            for reference in present or [image_id]:
                self._api.remove_image(reference)
        except (DockerException, OSError) as error:
            log.info("image %s cannot be removed: %s", image_id[:19], _answer(error))
            return None
        return int(found["Size"])

    def network(self, name: str) -> Network:
        """Return the bridge network `name`, created if missing, on which containers cannot reach each other."""
        found = self._network(name)
        if found is None:
            labels = {"pushmill.managed": "true"}
            self._api.create_network(name, driver="bridge", options={ICC: "false"}, labels=labels)
            found = self._network(name)
        if found is None:
            raise PushmillError(
                f"the network {name} is gone although Docker created it: does another program remove networks?"
            )
        options = found.get("Options") or {}
        isolated = options.get(ICC) == "false"
        if not isolated:
            log.warning(
                "containers on network %s can reach each other: pushmill did not create it; remove it once", name
            )
        configs = found.get("IPAM", {}).get("Config") or [{}]
        bridge, gateway = options.get(BRIDGE) or f"br-{found['Id'][:12]}", configs[0].get("Gateway", "")
        return Network(name=name, bridge=str(bridge), gateway=str(gateway), isolated=isolated)

    def _network(self, name: str) -> dict[str, Any] | None:
        """Return the oldest network of that name and remove the others.

        Docker allows several networks of the same name, so two slots that start together may create one each.
        """
        named: list[dict[str, Any]] = [
            network for network in self._api.networks(names=[name]) if network["Name"] == name
        ]
        named.sort(key=lambda network: (network["Created"], network["Id"]))
        for other in named[1:]:
            try:
                self._api.remove_network(other["Id"])
            except APIError as error:  # the slot that created it has removed it, or it is in use
                log.debug("network %s: %s", other["Id"][:12], error)
            else:
                firewall.remove_unused()
        return named[0] if named else None

    def create(self, spec: ContainerSpec) -> str:
        """Create the container of an execution without starting it; returns its id. Raises ExecutionFailed."""
        api = self._api
        host_config = api.create_host_config(
            mounts=_mounts(spec),
            network_mode=spec.network,
            log_config=LogConfig(type="none"),
            init=False,
            security_opt=["no-new-privileges"],
            cap_drop=["NET_RAW", "MKNOD"],
            pids_limit=spec.pids,
            mem_limit=spec.memory or None,
            memswap_limit=spec.memory or None,
            nano_cpus=round(spec.cpus * 1e9) or None,
            cpuset_cpus=spec.cpuset or None,
            shm_size=spec.shm,
            device_requests=devices.make_requests(spec.gpus),
        )
        environment = spec.environment | devices.make_variable(spec.gpus)
        config = api.create_container_config(
            image=spec.image,
            command=COMMAND,
            entrypoint=[],
            working_dir=WORKING_DIR,
            environment=[f"{key}={value}" for key, value in environment.items()],
            stdin_open=False,
            tty=False,
            detach=True,
            healthcheck=Healthcheck(test=["NONE"]),
            labels=_labels(spec),
            host_config=host_config,
        )
        config["Entrypoint"] = []  # the client leaves an empty list out
        try:
            name = f"pushmill-{spec.execution}-{spec.attempt}"
            return str(api.create_container_from_config(config, name)["Id"])  # type: ignore[no-untyped-call]
        except (DockerException, OSError) as error:
            raise _failed(FailureReason.INTERNAL, "The container cannot be created", error) from None

    def start(self, container_id: str) -> None:
        """Start a container. Raises OverlayUnavailable, or ExecutionFailed with the daemon's message."""
        try:
            self._api.start(container_id)
        except (DockerException, OSError) as error:
            answer = _answer(error)
            if "failed to mount local volume" in answer:
                self.overlay = False
                raise OverlayUnavailable(answer) from None
            if '"/bin/sh"' in answer:
                text = "The image has no /bin/sh, which runs the step's commands"
                raise ExecutionFailed(FailureReason.IMAGE, text) from None
            client_error = isinstance(error, APIError) and error.is_client_error()
            reason = FailureReason.IMAGE if client_error else FailureReason.INTERNAL
            raise _failed(reason, "The container cannot be started", error) from None

    def start_if_new(self, container_id: str) -> None:
        """Start a container that was created and never started; do nothing for any other."""
        if self.is_new(container_id):
            self.start(container_id)

    def is_new(self, container_id: str) -> bool:
        """Whether the container exists and was never started. Raises ExecutionFailed."""
        try:
            state = self._api.inspect_container(container_id)["State"]
        except NotFound:
            return False
        except (DockerException, OSError) as error:
            raise _failed(FailureReason.INTERNAL, "The container cannot be inspected", error) from None
        return bool(state["Status"] == "created")

    def addresses(self, container_id: str) -> list[str]:
        """The container's addresses on its networks; empty after it has ended. Raises ExecutionFailed."""
        try:
            return sandboxes.list_addresses(self._api.inspect_container(container_id))
        except NotFound:
            return []
        except (DockerException, OSError) as error:
            raise _failed(FailureReason.INTERNAL, "The container cannot be inspected", error) from None

    def answers(self) -> bool:
        """Whether the daemon answers a ping."""
        try:
            return bool(self._api.ping())
        except (DockerException, OSError):
            return False

    def wait(self, container_id: str) -> Exit:
        """Block until the container, which was started, has ended, also across restarts of the daemon.

        A container that was removed counts as ended with exit code 137.
        """
        while True:
            try:
                if self._api.wait(container_id, timeout=None)["StatusCode"] == 0:
                    return Exit(0)
                state = self._api.inspect_container(container_id)["State"]
                if not state["Running"]:
                    return Exit(int(state["ExitCode"]), bool(state["OOMKilled"]), str(state["Error"]))
            except NotFound:
                return Exit(137, error="the container was removed")
            except (DockerException, OSError) as error:
                log.warning("waiting for container %s: %s; trying again", container_id[:12], error)
                time.sleep(1)

    def terminate(self, container_id: str) -> bool:
        """Send SIGTERM to PID 1 and then to every process in the container, of any user; returns like `kill`.

        PID 1 thereby learns that the end was requested.
        """

        def send() -> None:
            self._api.kill(container_id, "SIGTERM")
            command = self._api.exec_create(container_id, TERMINATE, user="0", stdout=False, stderr=False)
            self._api.exec_start(str(command["Id"]), detach=True)

        return _took(container_id, send)

    def kill(self, container_id: str) -> bool:
        """Send SIGKILL; returns False if it has to be sent again, because the daemon is away or failed."""
        return _took(container_id, lambda: self._api.kill(container_id))

    def remove(self, container_id: str) -> bool:
        """Remove the container and its volumes, running or not. Returns False if the daemon does not answer."""
        try:
            self._api.remove_container(container_id, v=True, force=True)
        except NotFound:
            pass
        except (DockerException, OSError) as error:
            log.warning("container %s cannot be removed: %s", container_id[:12], error)
            return self.answers()
        return True

    def managed(self, runner: str) -> list[FoundContainer]:
        """List the containers of this runner, including ended ones."""
        containers = self._api.containers(all=True, filters={"label": [f"pushmill.runner={runner}"]})
        labels = [(container["Id"], container["Labels"]) for container in containers]
        return [
            FoundContainer(id_, label["pushmill.execution"], int(label["pushmill.attempt"])) for id_, label in labels
        ]

    def stats(self, container_id: str) -> dict[str, Any]:
        """One sample of Docker's statistics of the container, as Docker returns it. Raises PushmillError."""
        with devices.translate_errors(f"what container {container_id[:12]} uses"):
            found: dict[str, Any] = self._api.stats(container_id, stream=False, one_shot=True)
        return found

    def prune_volumes(self, runner: str) -> int:
        """Remove overlay volumes whose containers were removed without them; returns how many."""
        try:
            pruned = self._api.prune_volumes(filters={"label": [f"pushmill.runner={runner}"]})
        except (DockerException, OSError) as error:  # Docker rejects a prune while another one runs
            log.info("volumes cannot be pruned: %s", _answer(error))
            return 0
        return len(pruned.get("VolumesDeleted") or ())

    def lower_layers(self, runner: str) -> set[Path]:
        """The trees that are lower layers of this runner's overlays, mounted or not."""
        volumes = self._api.volumes(filters={"label": [f"pushmill.runner={runner}"]})["Volumes"] or []
        options = [str((volume.get("Options") or {}).get("o", "")) for volume in volumes]
        return {Path(found[1]) for text in options if (found := LOWER_LAYER.match(text))}

    def close(self) -> None:
        self._api.close()

    def _inspect_image(self, name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._api.inspect_image(name)  # type: ignore[no-untyped-call]
        except ImageNotFound:
            return None
        return found

    def _pull(self, name: str, status: Callable[[str], None], cancelled: Callable[[], bool]) -> None:
        status(f"Pulling image {name} …")
        started = time.monotonic()
        try:
            for line in iterate_pull_lines(self._api.pull(name, stream=True, decode=True), cancelled):
                status(line)
        except (APIError, PushmillError) as error:
            log.warning("pulling %s: %s", name, _answer(error))
            raise PushmillError(registries.explain_failure(_answer(error))) from None
        status(f"Pulled image {name} in {time.monotonic() - started:.1f} s")


def _mounts(spec: ContainerSpec) -> list[Mount]:
    spool = spec.directory / "spool"
    return [
        _repository_mount(spec),
        Mount("/valohai/inputs", str(spec.directory / "inputs"), type="bind"),
        Mount("/valohai/outputs", str(spec.directory / "outputs"), type="bind"),
        Mount("/valohai/config", str(spec.directory / "config"), type="bind", read_only=True),
        *(Mount(f"/pushmill/{name}", str(spool / name), type="bind", read_only=name in PROGRAMS) for name in MOUNTED),
        *_etc_mounts(spec),
        *(_host_mount(mount) for mount in spec.mounts),
    ]


def _etc_mounts(spec: ContainerSpec) -> list[Mount]:
    taken = {mount.destination for mount in spec.mounts}
    files = sorted(spec.etc.glob("*")) if spec.etc is not None else []  # an earlier version made no such directory
    return [Mount(f"/etc/{f.name}", str(f), type="bind") for f in files if f"/etc/{f.name}" not in taken]


def _host_mount(mount: HostMount) -> Mount:
    """Make a bind mount. Read-only ones are non-recursive, because Docker before 25 leaves submounts writable."""
    made = Mount(mount.destination, mount.source, type="bind", read_only=mount.readonly)
    if mount.readonly:
        made["BindOptions"] = {"NonRecursive": True}
    return made


def _repository_mount(spec: ContainerSpec) -> Mount:
    """A copy-on-write layer over the tree, as an anonymous volume that is removed with its container."""
    repository = spec.directory / "repository"
    if spec.tree is None:
        return Mount(WORKING_DIR, str(repository / "upper"), type="bind")
    layers = f"lowerdir={spec.tree},upperdir={repository / 'upper'},workdir={repository / 'work'}"
    driver = DriverConfig("local", {"type": "overlay", "device": "overlay", "o": layers})
    return Mount(WORKING_DIR, None, type="volume", no_copy=True, labels=_labels(spec), driver_config=driver)


def can_overlay(*paths: Path) -> bool:
    """Whether no path contains `,` or `:`, with which the kernel separates overlay options and layers."""
    return not any(mark in str(path) for path in paths for mark in ",:")


def _labels(spec: ContainerSpec) -> dict[str, str]:
    labels = {
        "pushmill.managed": "true",
        "pushmill.runner": spec.runner,
        "pushmill.execution": spec.execution,
        "pushmill.attempt": str(spec.attempt),
    }
    return labels | ({devices.LABEL: ",".join(spec.gpus)} if spec.gpus else {})


def _repository(image: str) -> str:
    """The name of the image without tag and digest."""
    name = image.partition("@")[0]
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag else name


def _took(container_id: str, send: Callable[[], None]) -> bool:
    """Send a signal; return whether the daemon took it, or rejected it because the container has ended or is gone."""
    try:
        send()
    except (DockerException, OSError) as error:
        log.info("a signal to container %s was not sent: %s", container_id[:12], error)
        return isinstance(error, APIError) and error.is_client_error()
    return True


def _failed(reason: FailureReason, what: str, error: Exception) -> ExecutionFailed:
    away = isinstance(error, OSError) and not isinstance(error, APIError)  # requests' own errors are OSErrors
    return (EngineAway if away else ExecutionFailed)(reason, f"{what}: {_answer(error)}")


def _answer(error: Exception) -> str:
    """The daemon's error message on one line, at most 1000 characters."""
    text = str(error.explanation or error) if isinstance(error, APIError) else str(error)
    return " ".join(text.split())[:1000]
