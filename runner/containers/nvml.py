"""Queries NVIDIA's management library in a separate program, because a call into a faulty driver may never return.

`list` prints lines of JSON: {"driver_version"}, then one {"gpu"} or {"problem"} for each device. `usage UUID…` answers
each line of its standard input with the list of [percent, bytes] of these devices, null for one that does not answer.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pynvml  # type: ignore[import-untyped]

ANSWER_S = 5.0  # for all devices together, each in a thread


def report_inventory(say: Callable[[dict[str, Any]], None]) -> None:
    """Pass the driver version and each device to `say`. A missing library means no GPUs; other errors are problems."""
    try:
        pynvml.nvmlInit()
        say({"driver_version": str(pynvml.nvmlSystemGetDriverVersion())})
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError_LibraryNotFound:
        return
    except pynvml.NVMLError as error:
        say({"problem": f"The NVIDIA driver does not answer ({error}); `nvidia-smi` may say more"})
        return
    for number, found in enumerate(_each(range(count), _describe)):
        silent = {"problem": f"GPU {number} does not answer within {ANSWER_S:g} s; it is left out"}
        say(found if found is not None else silent)


def measure_usage(uuids: Sequence[str]) -> list[list[int] | None]:
    """[percent, bytes] in use for each device, None for a device that does not answer."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return [None] * len(uuids)
    return _each(uuids, _used)


def _describe(number: int) -> dict[str, Any]:
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(number)
        uuid, name = str(pynvml.nvmlDeviceGetUUID(handle)), str(pynvml.nvmlDeviceGetName(handle))
        memory = int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)
        split = _is_split(handle)
    except pynvml.NVMLError as error:
        return {"problem": f"GPU {number} does not answer ({error}); it is left out"}
    if split:
        return {"problem": f"GPU {uuid} ({name}) is split by MIG, and executions get whole devices; it is left out"}
    return {"gpu": {"uuid": uuid, "name": name, "memory_bytes": memory}}


def _is_split(handle: Any) -> bool:
    try:
        return bool(pynvml.nvmlDeviceGetMigMode(handle)[0])
    except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound):  # the device or the driver is too old
        return False


def _used(uuid: str) -> list[int] | None:
    try:
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        percent = int(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        return [percent, int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)]
    except pynvml.NVMLError:
        return None


def _each(items: Sequence[Any], ask: Callable[[Any], Any]) -> list[Any]:
    """The result of `ask` for each item, in threads; None if it did not return within ANSWER_S."""
    answers: list[Any] = [None] * len(items)

    def fill(index: int) -> None:
        answers[index] = ask(items[index])

    threads = [threading.Thread(target=fill, args=(index,), daemon=True) for index in range(len(items))]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + ANSWER_S
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return list(answers)


def _say(answer: Any) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "list":
        report_inventory(_say)
    else:
        for _ in sys.stdin:
            _say(measure_usage(sys.argv[2:]))
    os._exit(0)  # a thread that hangs in the driver would keep the interpreter from exiting
