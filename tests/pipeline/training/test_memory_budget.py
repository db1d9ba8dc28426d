"""A memory budget is what the configuration says, or what is free to this very process."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from pipeline.errors import ConfigError
from pipeline.schema import DeviceConfig
from pipeline.training import memory


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8GiB", 8 * 2**30),
        ("8GB", 8 * 10**9),
        ("1.5 gib", 3 * 2**29),
        (" 900MiB ", 900 * 2**20),
        ("512KB", 512_000),
        ("4096B", 4096),
        ("2TiB", 2**41),
    ],
)
def test_amounts_of_memory_are_read_in_both_kinds_of_units(text: str, expected: int) -> None:
    assert memory.parse_memory(text) == expected


@pytest.mark.parametrize("text", ["8", "GiB", "-1GiB", "0GiB", "8 GiBB", "8,5GiB", "1e3GiB", ""])
def test_what_is_no_amount_is_refused_by_its_key(text: str) -> None:
    with pytest.raises(ConfigError, match=rf"^device.memory: {text} is no amount.*8GiB"):
        memory.parse_memory(text)


def test_more_than_the_machine_has_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"device.memory: 900TiB is more than the"):
        memory.memory_budget_bytes(DeviceConfig(memory="900TiB"))


def test_without_a_setting_the_budget_is_what_is_free_less_a_margin() -> None:
    budget = memory.memory_budget_bytes(DeviceConfig())
    free = psutil.virtual_memory().available
    assert 0.5 * free < budget < free + psutil.Process().memory_info().rss


def written(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content)


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(memory, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "MEMBERSHIP", tmp_path / "membership")
    return tmp_path


def test_the_tightest_group_of_version_2_binds_and_cached_files_do_not_count(groups: Path) -> None:
    (groups / "membership").write_text("0::/jobs/mine\n")
    stat = "anon 5\nactive_file 30000000\ninactive_file 20000000\n"
    written(
        groups / "cgroup/jobs",
        {"memory.max": "200000000", "memory.current": "90000000", "memory.stat": stat},
    )
    written(
        groups / "cgroup/jobs/mine",
        {"memory.max": "max", "memory.current": "1", "memory.stat": stat},
    )
    assert memory.available_bytes() == 200_000_000 - 90_000_000 + 50_000_000
    assert memory.total_bytes() == 200_000_000


def test_version_1_binds_likewise(groups: Path) -> None:
    (groups / "membership").write_text("9:name=systemd:/\n4:memory,cpu:/job\n0::/\n")
    written(
        groups / "cgroup/memory/job",
        {
            "memory.limit_in_bytes": "100000000",
            "memory.usage_in_bytes": "40000000",
            "memory.stat": "total_active_file 0\ntotal_inactive_file 10000000\n",
        },
    )
    assert memory.available_bytes() == 70_000_000
    with pytest.raises(ConfigError, match=r"more than the 0.1 GiB"):
        memory.memory_budget_bytes(DeviceConfig(memory="1GiB"))


def test_a_machine_without_groups_has_its_free_memory(groups: Path) -> None:
    assert memory.total_bytes() == psutil.virtual_memory().total
