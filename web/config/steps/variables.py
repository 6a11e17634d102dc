"""What the environment variables of an execution may be called and contain."""

from __future__ import annotations

VALUE_BYTES = 64 * 1024
# What the runner itself sets; the control variables (VH_NO_DATA_CACHE, VH_CPU_LIMIT, …) are the user's.
RUNNER_VARIABLES = frozenset(
    {
        *("VH_JOB_ID", "VH_EXECUTION_ID", "VH_PROJECT_ID", "VH_TASK_ID", "VH_PIPELINE_ID", "VH_PIPELINE_NODE_ID"),
        *("VH_CONFIG_DIR", "VH_INPUTS_DIR", "VH_OUTPUTS_DIR", "VH_REPOSITORY_DIR"),
        *("VH_DIST_MEMBER_ID", "VH_DIST_MEMBER_INDEX", "VH_DIST_MEMBER_COUNT"),
        *("VH_PUBLIC_IP", "VH_LOCAL_IP", "VH_TPU"),
    }
)
# What steers the dynamic linker, the GPU runtime or this software instead of the program. Those of NVIDIA's container
# toolkit choose devices, driver files and kernel interfaces; most other NVIDIA_… are a program's own, such as an API key.
HOST_VARIABLES = frozenset(
    {
        *("NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_DISABLE_REQUIRE", "NVIDIA_IMEX_CHANNELS"),
        *("NVIDIA_GDS", "NVIDIA_MOFED", "NVIDIA_GDRCOPY", "NVIDIA_NVSWITCH"),
        *("CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL"),
    }
)
HOST_PREFIXES = (
    *("LD_", "DOCKER_", "PUSHMILL_"),
    *("NVIDIA_REQUIRE_", "NVIDIA_MIG_", "NVIDIA_VISIBLE_", "NVIDIA_CONTAINER_", "NVIDIA_CTK_", "SWARM_RESOURCE_"),
)


def is_reserved(name: str) -> bool:
    """Variables that nobody but the runner sets."""
    return name in RUNNER_VARIABLES or name in HOST_VARIABLES or name.startswith(HOST_PREFIXES)


def not_text(value: str) -> str | None:
    """Why text cannot be an argument of a process, or None."""
    if "\0" in value:
        return "the value has a NUL character"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "the value is not Unicode text"
    return None
