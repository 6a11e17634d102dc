"""Keys of a step that valohai-yaml's schema allows and that have no effect here; `docs/steps.md` lists them too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

GPU_DEVICE = "nvidia.com/gpu"
HOST_MOUNT_TYPES = (None, "bind")
DISPLAY = "it is for display, and no page shows it"

STEP = {
    "cache-volumes": "they belong to Kubernetes",
    "environment-variable-groups": "there are no groups; set variables of the project",
    "outputs": "every file in /valohai/outputs is kept",
    "runtime-config-preset": "there are no presets",
    "source-path": DISPLAY,
    "stop-condition": "only tasks can have one",
    "upload-store": "outputs are stored on the server",
}
MOUNT = {"options": "mounts are read-only or writable, and nothing else"}
DESCRIBING = frozenset({DISPLAY, STEP["outputs"]})  # reasons of keys that are not supposed to change a run


def find_unused_keys(step: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (key, reason) for the body of a step or of a step's override, once per key."""
    yield from ((key, reason) for key, reason in STEP.items() if step.get(key))
    mounts = [mount for mount in step.get("mounts") or () if isinstance(mount, Mapping)]
    yield from ((f"mounts: {key}", why) for key, why in MOUNT.items() if any(mount.get(key) for mount in mounts))
    for mount in mounts:
        if mount.get("type") not in HOST_MOUNT_TYPES:
            reason = f"directories of the runner are mounted, not {mount['type']}"
            yield f"mounts: the mount of {mount['source']}", reason
    resources = step.get("resources") or {}
    for key in ("cpu", "memory"):
        if (resources.get(key) or {}).get("min"):
            yield f"resources.{key}.min", "every runner of the environment is assumed to have it"
    for device in resources.get("devices") or {}:
        if device != GPU_DEVICE:
            yield f'resources.devices "{device}"', f"only {GPU_DEVICE} is supported"
