# SPDX-License-Identifier: Apache-2.0
"""Text of the page that `panoptic doctor` prints."""

import textwrap
from collections.abc import Callable, Iterator

from panoptic_ros.doctor.backends import WORKS
from panoptic_ros.doctor.findings import Facts
from panoptic_ros.doctor.packages import EXTRAS

LABEL = 17
"""Width of the first column, characters."""

MAX_PROCESSES = 15
"""Most ROS processes on the page; the JSON has all."""

Rows = Iterator[tuple[str, str]]
"""Label and text of each row."""


def format_page(facts: Facts, width: int = 99) -> str:
    """Return the page.

    Args:
        facts: as `examine` returns them.
        width: longest line, characters.
    """
    version = facts.get('system', {}).get('panoptic_ros', '')
    lines = [
        f'panoptic doctor: panoptic_ros {version}, {facts["date"]}, took {facts["seconds"]:.1f} s'
    ]
    for key, (title, rows) in _SECTIONS.items():
        lines += ['', title]
        section = facts.get(key, {})
        try:
            found = list(rows(section))
        except (KeyError, TypeError):  # the check has failed, which the findings say
            found = [('not available', section.get('check_failed', ''))]
        for label, text in found:
            lines += textwrap.wrap(
                f'{label:<{LABEL}} {text}',
                width - 2,
                initial_indent='  ',
                subsequent_indent=' ' * (LABEL + 3),
                break_long_words=False,
                break_on_hyphens=False,
            )
    return '\n'.join([*lines, '', *_findings(facts, width)])


def _findings(facts: Facts, width: int) -> Iterator[str]:
    problems, notes = facts['problems'], facts['notes']
    head = _count(len(problems), 'problem') if problems else 'no problems'
    yield f'{head}, {_count(len(notes), "note")}:' if notes else f'{head}{":" * bool(problems)}'
    for number, (kind, finding) in enumerate(
        [('problem', row) for row in problems] + [('note', row) for row in notes], 1
    ):
        indent = ' ' * 5
        for first, text in (
            (f'{number:>3}. ', f'{kind}: {finding["text"]}'),
            (f'{indent}-> ', finding['remedy']),
        ):
            yield from textwrap.wrap(
                text,
                width,
                initial_indent=first,
                subsequent_indent=' ' * len(first),
                break_long_words=False,
                break_on_hyphens=False,
            )


def _count(number: int, what: str) -> str:
    return f'{number} {what}{"" if number == 1 else "s"}'


def _system(facts: Facts) -> Rows:
    inside = f', in a container ({facts["container"]})' if facts['container'] else ''
    yield 'system', f'{facts["system"]}, Linux {facts["kernel"]}, {facts["architecture"]}{inside}'
    virtual = ' (virtual environment)' if facts['virtual_environment'] else ''
    yield 'Python', f'{facts["python"]}, {facts["interpreter"]}{virtual}'
    yield 'package', facts['folder']
    variables = ' '.join(f'{name}={value}' for name, value in facts['environment'].items())
    yield 'environment', variables or 'none of the variables that matter is set'


def _cpu(facts: Facts) -> Rows:
    quota = '' if facts['quota_cores'] is None else f', limited to {facts["quota_cores"]:g}'
    yield (
        'processors',
        f'{facts["usable_cores"]} of {facts["machine_cores"]} usable{quota}, load '
        f'{facts["load_1_min"]}, {facts["name"] or "unknown model"}',
    )


def _memory(facts: Facts) -> Rows:
    limit = '' if facts['limit'] is None else f', container limited to {_size(facts["limit"])}'
    yield 'memory', f'{_size(facts["available"])} of {_size(facts["total"])} free{limit}'


def _packages(facts: Facts) -> Rows:
    yield (
        'every command',
        ', '.join(
            f'{row["name"]} {row["error"] or row["version"] or "installed"}'
            for row in facts['required']
        ),
    )
    for extra, row in facts['extras'].items():
        installed = ', '.join(
            f'{name} {version or ""}'.strip() for name, version in row['installed'].items()
        )
        missing = f'missing: {", ".join(row["missing"])}' if row['missing'] else ''
        if missing and not installed:
            text = 'not installed'
        else:
            text = '; '.join(part for part in (installed, missing) if part)
        get = f'; pip install "panoptic_ros[{extra}]"' if missing else ''
        yield f'[{extra}]', f'{EXTRAS[extra]}: {text}{get}'


def _ros(facts: Facts) -> Rows:
    where = 'sourced' if facts['sourced'] else 'wheels from PyPI' if facts['wheels'] else ''
    known = f'{facts["distribution"]} ({where})' if facts['distribution'] else 'none'
    others = f'; in /opt/ros: {", ".join(facts["installed"])}' if facts['installed'] else ''
    yield 'distribution', f'{known}{others}'
    yield 'rclpy', facts['rclpy'] or f'not available: {facts["error"]}'
    installed = ', '.join(facts['middleware_installed']) or 'none'
    used = facts['middleware'] or facts['middleware_requested'] or 'unknown'
    yield 'middleware', f'{used} (installed: {installed})'
    yield 'domain', facts['domain_id']
    for folder, version in facts['fast_dds'].items():
        yield 'Fast DDS', f'{version} in {folder}'
    if facts['vision_msgs'] is not None:
        yield (
            'vision_msgs',
            'installed'
            if facts['vision_msgs']
            else 'not installed: the node publishes no vision_msgs topics',
        )
    if facts['node_program']:
        yield (
            'node',
            f'{facts["node_program"]["file"]}, run by {facts["node_program"]["interpreter"]}',
        )


def _transport(facts: Facts) -> Rows:
    profile = facts['profile']
    if facts['middleware'] and 'fastrtps' not in facts['middleware']:
        here = f'set by {facts["middleware"]}; Fast DDS profiles do not apply'
    elif profile and not profile['error']:
        here = f'{_transports(profile)}, from {facts["variable"]}={facts["file"]}'
    elif facts['builtin_transports']:
        here = f'FASTDDS_BUILTIN_TRANSPORTS={facts["builtin_transports"]}'
    else:
        here = f'defaults of Fast DDS: shared memory of {_size(facts["segment"])} a process, UDPv4'
    yield 'this shell', here
    yield (
        'launch file, demo',
        'the profile of this shell'
        if facts['variable'] and not facts['ignored_variables']
        else f'{facts["shipped_profile"]}: shared memory of {_size(facts["shipped_segment"])} a '
        'process, UDPv4',
    )


def _transports(profile: Facts) -> str:
    kinds = ', '.join(
        f'shared memory of {_size(profile["segment"])} a process' if kind == 'SHM' else kind
        for kind in profile['transports']
    )
    return kinds or 'no transport'


def _shared_memory(facts: Facts) -> Rows:
    if facts['total'] is None:
        yield 'shared memory', f'{facts["folder"]} {facts["error"]}'
        return
    room = facts['free'] // facts['segment']
    yield (
        'shared memory',
        f'{_size(facts["free"])} of {_size(facts["total"])} free in {facts["folder"]}, room for '
        f'{min(room, 999)} more ROS processes of {_size(facts["segment"])}; left over: '
        f'{facts["left_over_files"]} segments',
    )


def _running(facts: Facts) -> Rows:
    processes = facts['processes']
    if not processes:
        yield 'ROS processes', 'none that this user may look at'
    for row in processes[:MAX_PROCESSES]:
        profile = 'with' if row['has_profile'] else 'without'
        fast = f', Fast DDS {row["fast_dds"]}, {profile} profile' if row['fast_dds'] else ''
        yield (
            'ROS process',
            f'{row["name"]} ({row["pid"]}): domain {row["domain_id"]}, {row["middleware"]}{fast}',
        )
    if len(processes) > MAX_PROCESSES:
        yield '', f'and {len(processes) - MAX_PROCESSES} more'


def _images(facts: Facts) -> Rows:
    if facts['sent'] is None or facts['received'] is None:
        yield 'full HD images', f'{facts["state"]}: {facts["reason"]}'
        return
    time = '' if facts['p50_ms'] is None else f', {facts["p50_ms"]:.0f} ms each (p50)'
    yield (
        'full HD images',
        f'{facts["received"]} of {facts["sent"]} arrived in another process{time}, best effort, '
        'settings of the launch file',
    )


def _gpu(facts: Facts) -> Rows:
    for gpu in facts['gpus']:
        yield (
            'GPU',
            f'{gpu["name"]}, driver {facts["driver"]}, memory {gpu["memory_mb"]} MB '
            f'({gpu["memory_used_mb"]} MB in use)',
        )
    if not facts['gpus']:
        yield 'GPU', f'none listed: {facts["nvidia_smi"]}'
    if facts['visible_to_engines']:
        yield 'engines see', ', '.join(facts['visible_to_engines'])


def _model(facts: Facts) -> Rows:
    if facts['error']:
        yield 'not available', facts['error']
    for name, row in facts['backends'].items():
        if row['state'] != WORKS:
            yield name, f'{row["state"]}: {row["reason"]}'
            continue
        answer = {'': 'answer as expected', None: 'another model than expected'}.get(
            row['difference'], f'wrong answer: {row["difference"]}'
        )
        auto = ' (taken by auto)' if name == facts['chosen'] else ''
        yield (
            name,
            f'{row["model"]} on {row["device"]}, {row["precision"]}{auto}: loads in '
            f'{row["load_s"]:.1f} s, {row["p50_ms"]:.0f} ms an image (p50 of {row["images"]}), '
            f'{_size(row["peak_memory"])}; {answer}',
        )


def _size(size: int | None) -> str:
    """Return a number of bytes in MB or GB."""
    if size is None:
        return 'unknown'
    return f'{size / 1e9:.1f} GB' if size >= 1e9 else f'{size / 1e6:.1f} MB'


_SECTIONS: dict[str, tuple[str, Callable[[Facts], Rows]]] = {
    'system': ('System', _system),
    'cpu': ('Processors', _cpu),
    'memory': ('Memory', _memory),
    'packages': ('Python packages', _packages),
    'ros': ('ROS', _ros),
    'transport': ('Transport of images', _transport),
    'shared_memory': ('Shared memory', _shared_memory),
    'running': ('Running', _running),
    'images': ('Trial of the transport', _images),
    'gpu': ('GPU', _gpu),
    'model': ('Packaged model, by backend', _model),
}
"""Title and rows by key of the facts."""
