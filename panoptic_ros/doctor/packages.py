# SPDX-License-Identifier: Apache-2.0
"""Python packages that this package needs, from the list in its own metadata."""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec

from panoptic_ros.doctor.findings import Facts, Finding, note
from panoptic_ros.doctor.probes import Ended

PACKAGE = 'panoptic_ros'

EXTRAS = {
    'ros': 'the node, demo',
    'bag': 'replay, bags',
    'report': 'the report of a replay',
    'fleet': 'suites on a Ray cluster, recordings in object stores',
    'train': 'training, evaluation, export',
    'hf': 'checkpoints of transformers',
}
"""Extras of setup.py that users install, and what each is for."""

MODULES = {'opencv-python-headless': 'cv2', 'pyyaml': 'yaml'}
"""Names to import of packages that are called otherwise."""

CLASHES = (
    ('onnxruntime', 'onnxruntime-gpu'),
    ('opencv-python', 'opencv-python-headless'),
    ('opencv-contrib-python', 'opencv-python-headless'),
)
"""Packages that overwrite each other's files."""

INSTALL = (
    'install the package again as docs/install.md says (on a robot: .venv/bin/python -m pip '
    'install -r requirements/$ROS_DISTRO.txt, and build with that Python)'
)


NOT_TRIED = 'was not tried'
"""Error of the packages after one that ended the process."""


@dataclass(frozen=True)
class Requirement:
    """One line of the list."""

    name: str
    module: str
    minimum: str
    """Oldest version; empty for any."""

    extra: str
    """The extra that needs it; empty if every command does."""


def requirements(lines: Iterable[str] | None = None) -> list[Requirement]:
    """Return what the package needs.

    Args:
        lines: as `importlib.metadata.requires` returns them; None are those of this package.

    Raises:
        LookupError: if this copy of the package has no metadata.
    """
    if lines is None:
        try:
            lines = metadata.requires(PACKAGE) or ()
        except metadata.PackageNotFoundError:
            raise LookupError('this copy of the package is not installed') from None
    found = []
    for line in lines:
        name = re.split(r'[^A-Za-z0-9._-]', line)[0]
        minimum = re.search(r'>=\s*([\w.]+)', line)
        extra = re.search(r'extra\s*==\s*["\']([\w-]+)["\']', line)
        found.append(
            Requirement(
                name,
                MODULES.get(name.lower(), _module(name)),
                minimum[1] if minimum else '',
                extra[1] if extra else '',
            )
        )
    return found


def _module(name: str) -> str:
    """Return the name to import: `ros-jazzy-std-msgs` is `std_msgs`."""
    return re.sub('^ros-[a-z]+-', '', name).replace('-', '_')


def required_modules() -> list[str]:
    """Return the modules that every command needs; empty if the list is not available."""
    try:
        return [row.module for row in requirements() if not row.extra]
    except LookupError:
        return []


def package_facts(imports: Ended) -> Facts:
    """Return versions by package, and what is missing.

    Args:
        imports: output of `import_check` with `required_modules`.
    """
    rows = requirements()
    reports = {report['module']: report for report in imports.documents}
    required, stopped = [], False
    for row in rows:
        if row.extra:
            continue
        if row.module in reports:
            report = reports[row.module]
        else:  # the first one without a report is that which ended the process
            reason = NOT_TRIED if stopped else f'cannot be imported: {imports.reason}'
            report, stopped = {'version': None, 'file': None, 'error': reason}, True
        version = report['version'] or _installed_version(row.name)
        required.append(
            {
                'name': row.name,
                'version': version,
                'minimum': row.minimum or None,
                'file': report['file'],
                'error': report['error'],
            }
        )
    return {
        'required': required,
        'extras': {extra: _extra_facts(extra, rows) for extra in EXTRAS},
        'clashes': [list(pair) for pair in CLASHES if all(map(_installed_version, pair))],
    }


def _extra_facts(extra: str, rows: list[Requirement]) -> Facts:
    installed: dict[str, str | None] = {}
    missing: list[str] = []
    old: list[str] = []
    for row in rows:
        if row.extra != extra:
            continue
        version = _installed_version(row.name)
        if not is_importable(row.module):
            missing.append(row.module)
            continue
        installed[row.module] = version
        if version and is_older(version, row.minimum):
            old.append(f'{row.module} {version} (needs {row.minimum})')
    return {'installed': installed, 'missing': missing, 'too_old': old}


def is_importable(module: str) -> bool:
    """Return whether a package is found, without importing it."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def is_older(version: str, minimum: str) -> bool:
    """Return whether a version is below a minimum, by the numbers at its start."""
    return _numbers(version) < _numbers(minimum)


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r'\d+(\.\d+)*', version)
    numbers = [int(part) for part in match[0].split('.')] if match else []
    while numbers and not numbers[-1]:  # 6.0 is not older than 6, nor 6 than 6.0
        numbers.pop()
    return tuple(numbers)


def _installed_version(name: str) -> str | None:
    """Return the version that pip or apt has installed; apt's packages may not name one."""
    for other in (name, _module(name)):
        with suppress(metadata.PackageNotFoundError, ValueError):
            return metadata.version(other)
    return None


def package_findings(facts: Facts) -> Iterator[Finding]:
    """Yield findings about packages that are missing, broken or too old."""
    unusable = [
        f'{row["name"]} {row["error"]}'
        for row in facts['required']
        if row['error'] and row['error'] != NOT_TRIED
    ]
    if unusable:
        yield Finding(f'packages that every command needs: {"; ".join(unusable)}', INSTALL)
    for row in facts['required']:
        if row['version'] and row['minimum'] and is_older(row['version'], row['minimum']):
            yield Finding(
                f'{row["name"]} {row["version"]} is older than {row["minimum"]}', INSTALL
            )
    for first, second in facts['clashes']:
        yield Finding(
            f'{first} and {second} are both installed and overwrite each other',
            f'pip uninstall {first} {second}, then install one of them again',
            is_problem=first == 'onnxruntime',  # two OpenCVs of one version work
        )
    for extra, row in facts['extras'].items():
        # One without any of its packages is left out on purpose.
        if row['too_old'] or (row['installed'] and row['missing']):
            wrong = [f'without {name}' for name in row['missing']] + row['too_old']
            yield note(
                f'the packages for {EXTRAS[extra]} are not complete: {", ".join(wrong)}',
                f'pip install "{PACKAGE}[{extra}]"',
            )
