"""What this device is, what it has left, and which of its counters can be read. A counter that is not there is None."""

from __future__ import annotations

import math
import os
import platform
import re
from functools import cache
from pathlib import Path

from hedgerow import files
from hedgerow.cost import Device, Memory
from hedgerow.runtimes.cpu import features

_GRAIN = 1 << 27  # MemTotal moves by some MB from kernel to kernel; the fingerprint must not


def probe() -> Device:
    """This machine: what its kernels' speed depends on, and a fingerprint of exactly that. No host or user name."""
    import psutil

    memory = min(psutil.virtual_memory().total, _cgroup("memory.max", "memory/memory.limit_in_bytes") or math.inf)
    cpu = _cpu()
    hardware = {
        "machine": platform.machine(),
        "cpu": cpu,
        "cores": _cores(),
        "memory_bytes": round(memory / _GRAIN) * _GRAIN,
        "features": sorted(features()),
        "system": platform.system(),
    }
    name = f"{cpu or platform.machine()}, {hardware['cores']} core{'s' if hardware['cores'] != 1 else ''}"
    return Device.model_validate({**hardware, "name": name, "fingerprint": files.digest(hardware)[:12]})


@cache
def measured_device() -> Device:
    """:func:`probe`, once a process: the device that every row measured here names."""
    return probe()


def _cpu() -> str:
    """Model name of the processor, '' where the system does not tell."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor()
    name = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", text, re.MULTILINE)
    return name[1].strip() if name else ""


def _cores() -> int:
    """Cores that this process may use: affinity, then the container's CPU quota."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS, Windows
        cores = os.cpu_count() or 1
    quota = _words("/sys/fs/cgroup/cpu.max")
    if len(quota) == 2 and quota[0].isdigit():
        cores = min(cores, math.ceil(int(quota[0]) / int(quota[1])))
    return max(1, cores)


def _words(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").split()
    except OSError:
        return []


def _cgroup(v2: str, v1: str) -> int | None:
    """A number of this process's memory cgroup, None where there is none or it says 'max'."""
    for words in (_words(f"/sys/fs/cgroup/{v2}"), _words(f"/sys/fs/cgroup/{v1}")):
        if words and words[0].isdigit() and int(words[0]) < 1 << 60:
            return int(words[0])
    return None


def _cached() -> int:
    """Bytes of files that this cgroup keeps in memory and gives up when asked: they count as used there."""
    for file, name in (("memory.stat", "inactive_file"), ("memory/memory.stat", "total_inactive_file")):
        words = _words(f"/sys/fs/cgroup/{file}")
        if name in words[:-1] and (number := words[words.index(name) + 1]).isdecimal():
            return int(number)
    return 0


def available_bytes() -> int:
    """Memory that a new process can still take: the system's, or what is left under the container's limit."""
    import psutil

    free = int(psutil.virtual_memory().available)
    limit = _cgroup("memory.max", "memory/memory.limit_in_bytes")
    used = _cgroup("memory.current", "memory/memory.usage_in_bytes")
    if limit is None or used is None:
        return free
    return min(free, max(0, limit - max(0, used - _cached())))


def load_average() -> float | None:
    """1-minute load average."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def cpu_stall_us() -> int | None:
    """Microseconds since boot in which some task waited for a CPU (``/proc/pressure/cpu``)."""
    for word in _words("/proc/pressure/cpu"):
        if word.startswith("total="):
            return int(word.removeprefix("total="))
    return None


def governor(root: Path = Path("/sys/devices/system/cpu/cpu0/cpufreq")) -> dict[str, str]:
    """How the clock is governed and limited: 'governor', 'limit of the clock'; {} where the system does not tell."""
    names = {"governor": "scaling_governor", "limit of the clock": "scaling_max_freq"}
    return {name: " ".join(words) for name, file in names.items() if (words := _words(str(root / file)))}


def resident() -> Memory | None:
    """This process now: ``weights`` bytes mapped from files, ``other`` anonymous, ``total`` both; None if not told."""
    found: dict[str, int] = {}
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key in ("RssAnon", "RssFile"):
            found[key] = int(value.split()[0]) * 1024
    if len(found) < 2:
        return None
    return Memory(weights=found["RssFile"], other=found["RssAnon"], total=sum(found.values()))


class EnergyMeter:
    """RAPL-like counters of whole packages (``/sys/class/powercap``); :meth:`joules` is None where none is readable."""

    def __init__(self, root: Path = Path("/sys/class/powercap")) -> None:
        # 'intel-rapl:0' is a package, 'intel-rapl:0:1' a part of it that must not be added again
        zones = [z for z in sorted(root.glob("*-rapl*:*")) if z.name.count(":") == 1] if root.is_dir() else []
        self._zones = [z for z in zones if _microjoules(z / "energy_uj") is not None]
        self._start = self._read()

    def _read(self) -> list[int | None]:
        return [_microjoules(z / "energy_uj") for z in self._zones]

    def start(self) -> None:
        """Count from here."""
        self._start = self._read()

    def joules(self) -> float | None:
        """Joules of all packages since :meth:`start`, the idle power of the machine included."""
        total = 0
        for zone, before, after in zip(self._zones, self._start, self._read(), strict=True):
            if before is None or after is None:
                return None
            # the counter wraps at max_energy_range_uj
            total += after - before if after >= before else after - before + (_microjoules(zone / _RANGE) or 0)
        return total / 1e6 if self._zones else None


_RANGE = "max_energy_range_uj"


def _microjoules(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def process_memory() -> tuple[int | None, int | None]:
    """(resident bytes now, peak resident bytes) of this process; a fresh process begins a fresh peak."""
    found: dict[str, int] = {}
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key in ("VmRSS", "VmHWM"):
                found[key] = int(value.split()[0]) * 1024
    except OSError:
        return _portable_memory()
    return found.get("VmRSS"), found.get("VmHWM")


def _portable_memory() -> tuple[int | None, int | None]:
    import psutil

    now = int(psutil.Process().memory_info().rss)
    try:
        import resource
    except ImportError:  # Windows keeps its own peak
        return now, getattr(psutil.Process().memory_info(), "peak_wset", None)
    return now, int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # bytes on macOS
