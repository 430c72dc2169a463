# SPDX-License-Identifier: Apache-2.0
"""Examination of the machine: all facts, and the findings about them."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from datetime import datetime, timezone
from typing import NamedTuple

from panoptic_ros.core.text import reason_of
from panoptic_ros.doctor import backends, gpu, images, machine, packages, ros, running, transport
from panoptic_ros.doctor.findings import Facts, Finding
from panoptic_ros.doctor.privacy import redact
from panoptic_ros.doctor.probes import Probe, python_module

MAX_S = 19.0
"""Longest time of an examination, seconds."""

PROBE_S = 8.0
"""Longest time of the probes that run side by side before the backends are tried, seconds."""

MODEL_S = 5.0
"""Time that is kept for the backends, seconds."""

FORMAT = 1
"""Version of the keys: a key is removed or changes its meaning only with a new version."""


class Section(NamedTuple):
    """One subject of the examination."""

    key: str
    """Key of its facts."""

    gather: Callable[[Facts], Facts]
    """Returns its facts from those of the sections before it."""

    judge: Callable[[Facts], Iterable[Finding]]
    """Returns findings from the facts of all sections up to this one."""


def examine() -> Facts:
    """Return everything that `panoptic doctor` shows.

    A check that fails becomes a finding.

    Returns:
        `format`, `date`, `seconds`, the facts of each section, and `problems` and `notes`, each a
        list of dictionaries with `text` and `remedy`. Nothing in it identifies the user.
    """
    start_s = time.monotonic()
    facts: Facts = {
        'format': FORMAT,
        'date': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'seconds': 0.0,
    }
    findings: list[Finding] = []
    with ExitStack() as stack:
        probes = {
            'imports': python_module(
                'panoptic_ros.doctor.import_check', *packages.required_modules()
            ),
            'ros': python_module('panoptic_ros.ros.probe'),
            'engines': python_module('panoptic_ros.doctor.engines'),
            'gpu': list(gpu.COMMAND),
        }
        running_probes = {name: Probe(command, PROBE_S) for name, command in probes.items()}
        for probe in running_probes.values():
            stack.callback(probe.kill)
        for section in _sections(running_probes, start_s + MAX_S):
            findings += _run(section, facts)
    facts['seconds'] = round(time.monotonic() - start_s, 1)
    for key, is_problem in (('problems', True), ('notes', False)):
        facts[key] = [
            {'text': finding.text, 'remedy': finding.remedy}
            for finding in findings
            if finding.is_problem == is_problem
        ]
    return redact(facts)


def _run(section: Section, facts: Facts) -> list[Finding]:
    """Add a section's facts, or `error`, and return its findings."""
    try:
        facts[section.key] = section.gather(facts)
        return list(section.judge(facts))
    except Exception as error:  # a page with a gap is of more use than none
        reason = f'{type(error).__name__}: {reason_of(error)}'
        facts.setdefault(section.key, {})['check_failed'] = reason
        return [
            Finding(f'the check of {section.key} failed: {reason}', 'report this with the page')
        ]


def _sections(probes: dict[str, Probe], end_s: float) -> Iterator[Section]:
    """Yield the sections in the order of their work.

    Args:
        probes: the commands that run beside this process.
        end_s: time on the monotonic clock at which the last check ends, seconds.
    """
    yield Section(
        'system',
        lambda facts: machine.system_facts(),
        lambda facts: machine.system_findings(facts['system']),
    )
    yield Section(
        'cpu', lambda facts: machine.cpu_facts(), lambda facts: machine.cpu_findings(facts['cpu'])
    )
    yield Section(
        'memory',
        lambda facts: machine.memory_facts(),
        lambda facts: machine.memory_findings(facts['memory']),
    )
    yield Section(
        'packages',
        lambda facts: packages.package_facts(probes['imports'].result),
        lambda facts: packages.package_findings(facts['packages']),
    )
    yield Section(
        'ros',
        lambda facts: ros.ros_facts(probes['ros'].result),
        lambda facts: ros.ros_findings(facts['ros']),
    )
    yield Section(
        'transport',
        lambda facts: transport.transport_facts(facts['ros']),
        lambda facts: (
            transport.transport_findings(facts['transport']) if facts['ros']['middleware'] else ()
        ),
    )
    yield Section(
        'shared_memory',
        lambda facts: transport.memory_facts(facts['transport']),
        lambda facts: transport.memory_findings(
            facts['shared_memory'],
            'fastrtps' in (facts['ros']['middleware'] or ''),
            facts['system']['container'],
        ),
    )
    yield Section(
        'running',
        lambda facts: running.running_facts(),
        lambda facts: running.running_findings(facts['running'], facts['ros']),
    )
    yield Section(
        'images',
        lambda facts: images.image_facts(facts['ros'], end_s - MODEL_S),
        lambda facts: images.image_findings(facts['images'], facts['ros']['middleware']),
    )
    yield Section(
        'gpu',
        lambda facts: gpu.gpu_facts(probes['gpu'].result, probes['engines'].result),
        lambda facts: gpu.gpu_findings(facts['gpu']),
    )
    yield Section(
        'model',
        lambda facts: backends.backend_facts(probes['engines'].result, end_s),
        # Without a package that every command needs the model cannot run either.
        lambda facts: (
            backends.backend_findings(facts['model'])
            if not any(row['error'] for row in facts['packages'].get('required', ()))
            else ()
        ),
    )
