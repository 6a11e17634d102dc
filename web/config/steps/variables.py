"""Allowed names and values of an execution's environment variables."""

from __future__ import annotations

VALUE_BYTES = 64 * 1024
# Set by the runner itself; the control variables (VH_NO_DATA_CACHE, VH_CPU_LIMIT, …) are the user's.
RUNNER_VARIABLES = frozenset(
    {
        *("VH_JOB_ID", "VH_EXECUTION_ID", "VH_PROJECT_ID", "VH_TASK_ID", "VH_PIPELINE_ID", "VH_PIPELINE_NODE_ID"),
        *("VH_CONFIG_DIR", "VH_INPUTS_DIR", "VH_OUTPUTS_DIR", "VH_REPOSITORY_DIR"),
        *("VH_DIST_MEMBER_ID", "VH_DIST_MEMBER_INDEX", "VH_DIST_MEMBER_COUNT"),
        *("VH_PUBLIC_IP", "VH_LOCAL_IP", "VH_TPU"),
    }
)
# These control the dynamic linker, the GPU runtime or pushmill instead of the program. Those of NVIDIA's container
# toolkit choose devices, driver files and kernel interfaces; most other NVIDIA_… variables belong to programs, such as
# an API key.
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
    """Return whether only the runner may set the variable."""
    return name in RUNNER_VARIABLES or name in HOST_VARIABLES or name.startswith(HOST_PREFIXES)
