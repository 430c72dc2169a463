# SPDX-License-Identifier: Apache-2.0
"""Templates of HTML pages that load nothing from the network."""

import base64
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from panoptic_ros.core.labels import LabelSet
from panoptic_ros.core.version import __version__

TEMPLATES = Path(__file__).parent / 'templates'


def require_jinja(work: str) -> None:
    """Check that the library of the templates is installed.

    Raises:
        ValueError: if it is not; names the work that needs it.
    """
    if not find_spec('jinja2'):
        raise ValueError(f'{work} needs jinja2: pip install "panoptic_ros[report]"')


def render(folder: Path, name: str, **values: Any) -> bytes:
    """Return a page as UTF-8.

    Args:
        folder: templates of the caller; those of this package are found beside them.
        name: file name of the template.
        values: its variables.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {'number': number, 'plain': plain}
    environment.globals |= {
        'version': __version__,
        'now': datetime.now(timezone.utc).strftime('%Y-%m-%d %H:%M UTC'),
    }
    return environment.get_template(name).render(values).encode()


def number(value: float | None, digits: int = 1) -> str:
    """Format a figure; a dash stands for a missing one."""
    return '–' if value is None else f'{value:.{digits}f}'


def plain(value: Any) -> str:
    """Format the value of a setting."""
    if isinstance(value, Mapping):
        return ', '.join(f'{name} {plain(item)}' for name, item in value.items()) or '–'
    if isinstance(value, (list, tuple)):
        return ', '.join(map(str, value)) or '–'
    if isinstance(value, float):
        return f'{value:.6g}'
    return '–' if value in ('', None) else str(value)


def data_url(jpeg: bytes) -> str:
    """Return a JPEG as an address that contains it."""
    return 'data:image/jpeg;base64,' + base64.b64encode(jpeg).decode()


def css_colors(labels: LabelSet) -> list[str]:
    """Return the colours of the classes in pictures, `#rrggbb`."""
    return ['#{:02x}{:02x}{:02x}'.format(*color) for color in labels.colors[: len(labels)]]
