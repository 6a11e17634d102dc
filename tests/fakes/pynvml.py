"""A stand-in for nvidia-ml-py on machines without a GPU: put this directory first on PYTHONPATH.

The file that FAKE_NVML names is read at each call: {"driver_version", "fault", "devices": [{"uuid", "name", "memory",
"used", "utilization", "mig", "fault"}]}. A fault is the name of an NVML error, e.g. "GpuIsLost", or "hang".

It proves what the runner makes of the library's answers and failures. It does not prove that the real library answers
like this, nor anything about a driver, CUDA or the NVIDIA container toolkit.
"""

from __future__ import annotations

import json
import os
import time
from types import SimpleNamespace
from typing import Any


class NVMLError(Exception):
    def __str__(self) -> str:
        return type(self).__name__.removeprefix("NVMLError_")


ERRORS = ("LibraryNotFound", "DriverNotLoaded", "GpuIsLost", "NotFound", "NotSupported", "FunctionNotFound")
globals().update({f"NVMLError_{name}": type(f"NVMLError_{name}", (NVMLError,), {}) for name in ERRORS})


def _error(name: str) -> NVMLError:
    error: NVMLError = globals()[f"NVMLError_{name}"]()
    return error


def _asked(thing: dict[str, Any]) -> dict[str, Any]:
    if thing.get("fault") == "hang":
        time.sleep(3600)
    if thing.get("fault"):
        raise _error(thing["fault"])
    return thing


def _driver() -> dict[str, Any]:
    if "FAKE_NVML" not in os.environ:
        raise _error("LibraryNotFound")
    with open(os.environ["FAKE_NVML"], encoding="utf-8") as file:
        return _asked(json.load(file))


def nvmlInit() -> None:
    _driver()


def nvmlSystemGetDriverVersion() -> str:
    return str(_driver().get("driver_version", "550.54.15"))


def nvmlDeviceGetCount() -> int:
    return len(_driver()["devices"])


def nvmlDeviceGetHandleByIndex(index: int) -> dict[str, Any]:
    return _asked(_driver()["devices"][index])


def nvmlDeviceGetHandleByUUID(uuid: str) -> dict[str, Any]:
    for device in _driver()["devices"]:
        if device["uuid"] == uuid:
            return _asked(device)
    raise _error("NotFound")


def nvmlDeviceGetUUID(handle: dict[str, Any]) -> str:
    return str(handle["uuid"])


def nvmlDeviceGetName(handle: dict[str, Any]) -> str:
    return str(handle.get("name", "NVIDIA Fake 80GB"))


def nvmlDeviceGetMemoryInfo(handle: dict[str, Any]) -> SimpleNamespace:
    return SimpleNamespace(total=handle.get("memory", 80 * 1024**3), used=handle.get("used", 0))


def nvmlDeviceGetUtilizationRates(handle: dict[str, Any]) -> SimpleNamespace:
    return SimpleNamespace(gpu=handle.get("utilization", 0), memory=0)


def nvmlDeviceGetMigMode(handle: dict[str, Any]) -> list[int]:
    if "mig" not in handle:
        raise _error("NotSupported")
    return [int(handle["mig"]), int(handle["mig"])]
