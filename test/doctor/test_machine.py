# SPDX-License-Identifier: Apache-2.0
"""Operating system, container and limits, on made-up file systems."""

from pathlib import Path

import pytest

from panoptic_ros.doctor import machine


def write(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace('__', '/')
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ('files', 'expected'),
    [
        ({}, (None, None)),
        ({'proc/self/cgroup': '0::/\n'}, (None, None)),
        (
            {
                'proc/self/cgroup': '0::/\n',
                'sys/fs/cgroup/cpu.max': '150000 100000\n',
                'sys/fs/cgroup/memory.max': '2000000000\n',
            },
            (1.5, 2_000_000_000),
        ),
        (  # a group above this one has the smaller limit
            {
                'proc/self/cgroup': '0::/pod/box\n',
                'sys/fs/cgroup/pod/cpu.max': '50000 100000\n',
                'sys/fs/cgroup/pod/box/cpu.max': '200000 100000\n',
                'sys/fs/cgroup/pod/memory.max': '3000\n',
                'sys/fs/cgroup/pod/box/memory.max': '1000\n',
                'sys/fs/cgroup/memory.max': 'max\n',
            },
            (0.5, 1000),
        ),
        (  # version 1; the folder of the host's group is not visible in the container
            {
                'proc/self/cgroup': '5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n0::/\nbad\n',
                'sys/fs/cgroup/memory/memory.limit_in_bytes': '400000000\n',
                'sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us': '300000\n',
                'sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us': '100000\n',
            },
            (3.0, 400_000_000),
        ),
        (
            {
                'proc/self/cgroup': '4:cpu:/\n',
                'sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1\n',
                'sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n',
            },
            (None, None),
        ),
    ],
)
def test_limits_of_control_groups(tmp_path, files, expected):
    assert machine.control_group_limits(write(tmp_path, **files)) == expected


def test_limits_lead_to_findings(tmp_path):
    root = write(
        tmp_path,
        **{
            'proc/self/cgroup': '0::/\n',
            'sys/fs/cgroup/cpu.max': '10000 100000\n',
            'sys/fs/cgroup/memory.max': '200000000\n',
            'proc/meminfo': 'MemTotal: 8000000 kB\nMemAvailable: 6000000 kB\nHugePages_Free: 0\n',
            'proc/loadavg': '99.0 1 1 1/1 1\n',
            'proc/device-tree/model': 'Jetson\0',
        },
    )
    cpu = machine.cpu_facts(root)
    assert (cpu['quota_cores'], cpu['load_1_min'], cpu['name']) == (0.1, 99.0, 'Jetson')
    quota, load = machine.cpu_findings(cpu | {'usable_cores': 4, 'machine_cores': 4})
    assert 'may use 0.1 cores' in quota.text and '--cpuset-cpus=0-0 ' in quota.remedy
    assert 'load of 99' in load.text
    memory = machine.memory_facts(root)
    assert memory == {'total': 8_192_000_000, 'available': 6_144_000_000, 'limit': 200_000_000}
    [finding] = machine.memory_findings(memory)
    assert finding.is_problem and '200 MB of memory is the limit' in finding.text


def test_enough_is_no_finding():
    cpu = {'quota_cores': 4.0, 'usable_cores': 4, 'machine_cores': 4, 'load_1_min': 3.0}
    assert not [*machine.cpu_findings(cpu)]
    assert not [*machine.memory_findings({'available': 10**9, 'limit': None, 'total': 10**9})]
    assert not [*machine.system_findings({'python': '3.10.1'})]
    assert [*machine.system_findings({'python': '3.9.18'})]


@pytest.mark.parametrize(
    ('files', 'environ', 'kind'),
    [
        ({}, {}, None),
        ({'.dockerenv': ''}, {}, 'docker'),
        ({'run/.containerenv': ''}, {}, 'podman'),
        ({'proc/1/cgroup': '0::/kubepods/x'}, {}, 'kubepods'),
        ({}, {'container': 'systemd-nspawn'}, 'systemd-nspawn'),
    ],
)
def test_containers_are_recognised(tmp_path, files, environ, kind):
    assert machine.container_kind(environ, write(tmp_path, **files)) == kind
