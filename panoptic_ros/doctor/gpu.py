# SPDX-License-Identifier: Apache-2.0
"""NVIDIA GPUs, as nvidia-smi and the driver's library list them."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from panoptic_ros.core.text import one_line
from panoptic_ros.doctor.findings import Facts, Finding
from panoptic_ros.doctor.probes import Ended

COMMAND = (
    'nvidia-smi',
    '--query-gpu=name,driver_version,memory.total,memory.used',
    '--format=csv,noheader,nounits',
)

NO_COMMAND = 'nvidia-smi is not installed'


def gpu_facts(smi: Ended, engines: Ended, root: Path = Path('/')) -> Facts:
    """Return the GPUs.

    Args:
        smi: output of COMMAND.
        engines: output of `panoptic_ros.doctor.engines`.
        root: folder of the file system.
    """
    facts: Facts = {
        'nvidia_smi': _state(smi),
        'driver': None,
        'gpus': [],
        'visible_to_engines': None,
        'jetson': (root / 'etc/nv_tegra_release').exists(),
        'device_files': any((root / 'dev').glob('nvidia[0-9]*')),
    }
    if not smi.failure:
        for line in smi.output.splitlines():
            cells = [cell.strip() for cell in line.split(',')]
            if len(cells) == 4:
                name, facts['driver'], total, used = cells
                facts['gpus'].append(
                    {'name': name, 'memory_mb': _number(total), 'memory_used_mb': _number(used)}
                )
    for document in engines.documents:
        facts['visible_to_engines'] = document['gpus']
    return facts


def _state(smi: Ended) -> str:
    """Return `works`, or why nvidia-smi lists no GPU."""
    if smi.missing:
        return NO_COMMAND
    if smi.failure:
        # nvidia-smi explains on stdout.
        text = one_line(smi.output or smi.errors)
        return f'nvidia-smi failed ({smi.failure}){": " * bool(text)}{text}'
    return 'works'


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r'\d+', text) else None


def gpu_findings(facts: Facts, environ: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Yield findings about a GPU that cannot be used."""
    listed, visible = facts['gpus'], facts['visible_to_engines']
    if facts['nvidia_smi'] not in ('works', NO_COMMAND):
        remedy = (
            'restart the machine, or install the driver again; the kernel log (dmesg) has more'
        )
        if 'mismatch' in facts['nvidia_smi']:
            remedy = 'restart the machine: the driver was updated while the old one was in use'
        yield Finding(facts['nvidia_smi'], remedy)
    if listed and visible == []:
        hidden = environ.get('CUDA_VISIBLE_DEVICES')
        if hidden is not None:
            yield Finding(
                f'CUDA_VISIBLE_DEVICES={hidden!r} hides the GPU from the engines',
                'unset CUDA_VISIBLE_DEVICES, or set it to the index of the GPU',
            )
        else:
            yield Finding(
                "nvidia-smi lists a GPU, but the driver's library libcuda.so.1 does not",
                'install the libraries of the driver; in a container start it with --gpus all '
                'and NVIDIA_DRIVER_CAPABILITIES=compute,utility',
            )
    if not listed and not visible and facts['device_files'] and not facts['jetson']:
        yield Finding(
            'the machine has an NVIDIA GPU (/dev/nvidia*), but no program can reach it',
            'install the driver; in a container install the NVIDIA Container Toolkit on the host '
            'and start it with --gpus all',
        )
