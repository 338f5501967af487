"""How busy the machine is at a moment: CPU, memory, and GPUs where NVIDIA's library is there. Costs well below a millisecond."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

MEGABYTE = 1e6


class Load:
    """Measures from its construction on. What a machine does not tell is left out; names and units are those that MLflow uses."""

    def __init__(self) -> None:
        self._ticks = _ticks()
        self._gpus: list[_Gpu] | None = None

    def now(self) -> dict[str, float]:
        """CPU since the last call and memory now, as percentages and megabytes of the whole machine; the same for each GPU."""
        if self._gpus is None:
            self._gpus = _gpus()
        before, self._ticks = self._ticks, _ticks()
        idle, total = (now - then for now, then in zip(self._ticks, before, strict=True))
        found = dict[str, float]()
        if total > 0:  # Linux takes time back that it had counted as iowait
            found["cpu_utilization_percentage"] = round(100 * min(max(1 - idle / total, 0.0), 1.0), 1)
        found |= _memory()
        for number, gpu in enumerate(self._gpus):
            found |= {f"gpu_{number}_{name}": value for name, value in gpu.now().items()}
        return found


def _ticks() -> tuple[int, int]:
    """Idle and all ticks of all cores since the machine started."""
    with contextlib.suppress(OSError, ValueError):  # no /proc: not Linux
        ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return ticks[3] + ticks[4], sum(ticks)
    return 0, 0


def _memory() -> dict[str, float]:
    with contextlib.suppress(OSError, ValueError, KeyError):
        lines = (line.split(":") for line in Path("/proc/meminfo").read_text().splitlines()[:8])
        kibibytes = {name: int(rest.split()[0]) for name, rest in lines}
        total, used = kibibytes["MemTotal"], kibibytes["MemTotal"] - kibibytes["MemAvailable"]
        return {
            "system_memory_usage_megabytes": round(used * 1024 / MEGABYTE, 1),
            "system_memory_usage_percentage": round(100 * used / total, 1),
        }
    return {}


class _Gpu:
    """One GPU through NVML, which the driver brings along; asking it starts no process."""

    def __init__(self, library: ctypes.CDLL, handle: ctypes.c_void_p) -> None:
        self._library, self._handle = library, handle

    def name(self) -> str:
        """As the driver calls it, for example ``NVIDIA H100 80GB HBM3``; empty where it does not say."""
        name = ctypes.create_string_buffer(96)  # NVML_DEVICE_NAME_V2_BUFFER_SIZE
        return name.value.decode() if self._library.nvmlDeviceGetName(self._handle, name, 96) == 0 else ""

    def now(self) -> dict[str, float]:
        use, memory = (ctypes.c_uint * 2)(), (ctypes.c_ulonglong * 3)()  # GPU and bus, in per cent; total, free, used
        found = {}
        if self._library.nvmlDeviceGetUtilizationRates(self._handle, ctypes.byref(use)) == 0:
            found["utilization_percentage"] = float(use[0])
        if self._library.nvmlDeviceGetMemoryInfo(self._handle, ctypes.byref(memory)) == 0:
            found["memory_usage_megabytes"] = round(memory[2] / MEGABYTE, 1)
            found["memory_usage_percentage"] = round(100 * memory[2] / memory[0], 1)
        return found


def _gpus() -> list[_Gpu]:
    """The machine's GPUs; of those, the ones that this process may use where that is said by number."""
    with contextlib.suppress(OSError, AttributeError):  # no driver, or one without these calls
        library, count = ctypes.CDLL("libnvidia-ml.so.1"), ctypes.c_uint()
        if library.nvmlInit_v2() == 0 and library.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0:
            return [_Gpu(library, handle) for handle in _handles(library, count.value)]
    return []


def gpu_names() -> list[str]:
    """The GPUs that this process may use, as the driver calls them; none where there is no driver."""
    with contextlib.suppress(AttributeError):
        return [name for gpu in _gpus() if (name := gpu.name())]
    return []


def gpu_count() -> int:
    """NVIDIA's GPUs in this machine, by their device files: no library is asked, nothing is started."""
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def _handles(library: ctypes.CDLL, count: int) -> Iterator[ctypes.c_void_p]:
    said = [word.strip() for word in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if word.strip()]
    numbers = [int(word) for word in said] if all(word.isdigit() for word in said) and said else range(count)
    for number in numbers:
        handle = ctypes.c_void_p()
        if library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(number), ctypes.byref(handle)) == 0:
            yield handle
