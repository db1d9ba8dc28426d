"""What machine this is and which versions run on it, for every file that holds measurements."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "mlflow", "snakemake", "hydra-core")


def describe() -> dict[str, Any]:
    """CPU model, usable cores, memory in bytes, operating system and Python."""
    return {
        "cpu": _cpu_name(),
        "cores": usable_cores(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Installed versions of the packages that a result depends on."""
    return {package: version(package) for package in PACKAGES}


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_rss_bytes() -> int:
    """Largest resident memory of this process so far, in bytes.

    Linux says it in VmHWM, which starts anew with a program; ``ru_maxrss`` would still hold the
    memory of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = [x for x in status.read_text().splitlines() if x.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def give_back_free_memory() -> None:
    """Return what this process has freed to the system, where the C library can: malloc_trim(3)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
