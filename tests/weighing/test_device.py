from __future__ import annotations

import platform
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hedgerow import files
from hedgerow.weighing import device


def test_fingerprint_is_the_digest_of_the_hardware_and_nothing_else() -> None:
    found = device.probe()
    hardware = found.model_dump(mode="json", exclude={"name", "fingerprint", "rates"})
    assert found.fingerprint == files.digest(hardware)[:12]
    assert device.probe() == found == device.measured_device()


def test_a_probe_names_no_host_and_no_user() -> None:
    text = device.probe().model_dump_json().lower()
    host = socket.gethostname().lower()
    assert len(host) < 4 or host not in text
    assert platform.node().lower() not in text or len(platform.node()) < 4


def test_a_kernel_that_keeps_some_megabytes_more_is_the_same_device(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    memory = psutil.virtual_memory()

    def of(total: int) -> str:
        monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(total=total))
        return device.probe().fingerprint

    assert of(8 << 30) == of((8 << 30) - (9 << 20)) != of(4 << 30)


def test_container_limits_bound_memory_and_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    files_of = {
        "/sys/fs/cgroup/memory.max": ["1073741824"],
        "/sys/fs/cgroup/memory.current": ["1000000000"],
        "/sys/fs/cgroup/cpu.max": ["50000", "100000"],
    }
    monkeypatch.setattr(device, "_words", lambda path: files_of.get(path, []))
    assert device.available_bytes() == 1073741824 - 1000000000
    kept = ["active_file", "7", "inactive_file", "600000000", "workingset", "0"]  # by files, given up when asked
    for name, words in (("memory.stat", kept), ("memory/memory.stat", ["total_inactive_file", "600000000"])):
        stat = {**files_of, f"/sys/fs/cgroup/{name}": words}
        monkeypatch.setattr(device, "_words", lambda path, stat=stat: stat.get(path, []))
        assert device.available_bytes() == 1073741824 - 400000000
    assert device.probe().cores == 1
    assert device.probe().memory_bytes == 1 << 30


def test_an_unlimited_container_is_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    monkeypatch.setattr(device, "_words", lambda path: ["max"] if "memory.max" in path else [])
    assert device.available_bytes() == pytest.approx(psutil.virtual_memory().available, rel=0.2)


def _zone(root: Path, name: str, uj: int, top: int = 1000) -> Path:
    zone = root / name
    zone.mkdir(parents=True)
    (zone / "energy_uj").write_text(f"{uj}\n")
    (zone / "max_energy_range_uj").write_text(f"{top}\n")
    return zone


def test_energy_adds_packages_not_their_parts_and_survives_a_wrap(tmp_path: Path) -> None:
    first = _zone(tmp_path, "intel-rapl:0", 900)
    second = _zone(tmp_path, "intel-rapl:1", 100)
    part = _zone(tmp_path, "intel-rapl:0:0", 10)
    meter = device.EnergyMeter(tmp_path)
    (first / "energy_uj").write_text("50")  # wrapped at 1000: 150 µJ
    (second / "energy_uj").write_text("400")
    (part / "energy_uj").write_text("999")
    assert meter.joules() == pytest.approx(450e-6)
    meter.start()
    assert meter.joules() == 0.0


def test_energy_is_none_where_no_counter_can_be_read(tmp_path: Path) -> None:
    assert device.EnergyMeter(tmp_path / "absent").joules() is None
    assert device.EnergyMeter(tmp_path).joules() is None
    zone = _zone(tmp_path, "intel-rapl:0", 5)
    meter = device.EnergyMeter(tmp_path)
    (zone / "energy_uj").unlink()
    assert meter.joules() is None


_GROWS = """
import os
from hedgerow.weighing import device
before = device.process_memory()
block = bytearray(os.urandom(1)) * (64 << 20)
print(*before, *device.process_memory())
"""


def test_process_memory_sees_what_is_allocated() -> None:
    """In a fresh process: one that has run long may serve a block from memory that it already holds."""
    ran = subprocess.run([sys.executable, "-c", _GROWS], capture_output=True, text=True, check=True)
    now, peak, grown, top = map(int, ran.stdout.split())
    assert peak >= now > 1 << 20
    assert grown - now > 50 << 20
    assert top >= grown
