from __future__ import annotations

import os

import pytest

from buildkit.core.errors import UsageError
from buildkit.engine.machine import Machine, Width, WidthKind, parse_width

GIB = 1 << 30


def machine(cpus: float = 4.0, memory_bytes: int | None = 64 * GIB) -> Machine:
    return Machine(cpus, memory_bytes, 0.0, "a test")


@pytest.mark.parametrize(
    ("text", "cpus", "slots"),
    [
        ("auto", 4, 4),
        ("auto", 0.5, 1),
        ("auto", 2.5, 3),
        ("auto-1", 4, 3),
        ("auto-9", 4, 1),
        ("50%", 4, 2),
        ("50%", 3, 1),
        ("1%", 4, 1),
        ("200%", 4, 8),
        ("7", 4, 7),
        (" 3 ", 4, 3),
        ("0", 4, 0),
        (6, 4, 6),
    ],
)
def test_a_width_becomes_a_number_of_slots(text: str | int, cpus: float, slots: int) -> None:
    assert parse_width(text).resolve(machine(cpus)) == slots


@pytest.mark.parametrize(
    "text",
    [
        "banana",
        "-1",
        "0%",
        "1001%",
        "1.5",
        "",
        "auto-",
        "auto+1",
        "%",
        "50 %",
        "٤",
        "1e3",
        "auto-1%",
        True,
        "--",
    ],
)
def test_anything_else_is_refused_with_what_is_accepted(text: str) -> None:
    with pytest.raises(
        UsageError, match=r"'auto', 'auto-1', a number such as 4, .* 1% to 1000%, or 0"
    ) as refusal:
        parse_width(text)
    assert repr(str(text)) in str(refusal.value)


def test_auto_needs_memory_for_each_slot_and_keeps_at_least_one() -> None:
    assert Width(WidthKind.AUTO).resolve(machine(16, 1 * GIB)) == 4
    assert Width(WidthKind.AUTO).resolve(machine(16, 1)) == 1
    assert Width(WidthKind.AUTO).resolve(machine(16, None)) == 16


def fake_system(root, files: dict[str, str]) -> Machine:
    for path, text in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return Machine.probe(str(root), {})


MEMINFO = "MemTotal:       32000000 kB\nMemFree:  1 kB\nMemAvailable:   16777216 kB\n"
V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"


@pytest.fixture(autouse=True)
def eight_processors(monkeypatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)


def test_without_control_groups_the_affinity_and_free_memory_count(tmp_path) -> None:
    seen = fake_system(tmp_path, {"proc/meminfo": MEMINFO})
    assert (seen.cpus, seen.memory_bytes) == (8.0, 16 * GIB)


def test_the_tightest_quota_of_nested_groups_counts(tmp_path) -> None:
    seen = fake_system(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "0::/ci/job/step\n",
            "proc/self/mountinfo": V2_MOUNT,
            "sys/fs/cgroup/ci/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/ci/job/cpu.max": "max 100000\n",
            "sys/fs/cgroup/ci/job/step/cpu.max": "400000 100000\n",
            "sys/fs/cgroup/ci/job/memory.max": str(2 * GIB),
            "sys/fs/cgroup/ci/job/memory.current": str(1 * GIB),
            "sys/fs/cgroup/ci/job/memory.stat": f"anon 5\ninactive_file {GIB // 2}\n",
            "sys/fs/cgroup/ci/job/step/memory.max": "max\n",
        },
    )
    assert (seen.cpus, seen.memory_bytes) == (1.5, 3 * GIB // 2)


def test_version_1_hierarchies_count_too(tmp_path) -> None:
    seen = fake_system(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "4:memory:/box\n3:cpu,cpuacct:/box\n2:pids:/box\n1:name=systemd:/box\n0::/\n",
            "proc/self/mountinfo": (
                "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
                "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
                "36 31 0:33 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
            ),
            "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/box/memory.limit_in_bytes": str(GIB),
            "sys/fs/cgroup/memory/box/memory.usage_in_bytes": str(GIB // 4),
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "1\n",
        },
    )
    assert (seen.cpus, seen.memory_bytes) == (0.5, 3 * GIB // 4)


def test_a_container_that_sees_its_group_as_the_root_of_the_mount_counts(tmp_path) -> None:
    seen = fake_system(
        tmp_path,
        {
            "proc/self/cgroup": "0::/docker/abc/inner\n",
            "proc/self/mountinfo": "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
            "sys/fs/cgroup/cpu.max": "300000 100000\n",
            "sys/fs/cgroup/inner/cpu.max": "200000 100000\n",
        },
    )
    assert seen.cpus == 2.0


def test_a_group_path_of_the_host_that_is_not_visible_falls_back_to_the_mount(tmp_path) -> None:
    seen = fake_system(
        tmp_path,
        {
            "proc/self/cgroup": "0::/kubepods/pod1/abc\n",
            "proc/self/mountinfo": V2_MOUNT,
            "sys/fs/cgroup/cpu.max": "250000 100000\n",
        },
    )
    assert seen.cpus == 2.5


def test_runners_of_one_kind_are_one_class_of_machine(tmp_path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nmodel name\t: Some  CPU @ 2GHz\n")
    one = Machine.probe(str(tmp_path), {"ImageOS": "ubuntu24", "RUNNER_NAME": "GitHub Actions 12"})
    two = Machine.probe(str(tmp_path), {"ImageOS": "ubuntu24", "RUNNER_NAME": "GitHub Actions 1077"})
    other = Machine.probe(str(tmp_path), {"ImageOS": "ubuntu22", "RUNNER_NAME": "GitHub Actions 12"})
    assert one.description == two.description != other.description
    assert one.description.startswith("Some CPU @ 2GHz; ")


def test_this_machine_offers_something() -> None:
    seen = Machine.probe()
    assert 0 < seen.cpus <= 8
    assert seen.memory_bytes is None or seen.memory_bytes > 0
    assert seen.description
