# SPDX-License-Identifier: Apache-2.0
"""Declarations of settings: default, range and description in one place.

A setting is a row of a table, or a field of a dataclass (`setting`). Value checks, ROS
descriptors, parameter files and tables of the documentation are derived from it.
"""

import math
import re
from array import array
from dataclasses import dataclass, field, fields, replace
from typing import Any

from panoptic_ros.core.text import one_line

MAX_SHOWN = 100
"""Most characters of a name or value in an error message."""


@dataclass(frozen=True)
class Setting:
    """Declaration of one setting."""

    name: str

    default: Any
    """bool, int, float, str or tuple of str; the values have the same type. Floats accept
    integers."""

    description: str

    read_only: bool = False
    """Whether the node accepts changes only before it is configured."""

    at_reload: bool = False
    """Whether a change has an effect when the model is loaded again, by `~/reload_model` or by
    configuring the node."""

    minimum: float = -math.inf
    maximum: float = math.inf

    above: float = -math.inf
    """Exclusive lower bound."""

    default_meaning: str = ''
    """Meaning of a default number outside the range, which is accepted as well."""

    pattern: str = '(?s).*'
    """Regular expression that a string must match completely."""

    expected: str = ''
    """The pattern in words."""

    per_camera: bool = False
    """Whether the node also accepts a value for one of several cameras."""

    def check(self, value: Any) -> Any:
        """Return the value in this setting's type.

        Raises:
            ValueError: if it has another type or is out of range; names what is expected.
        """
        default = self.default
        if isinstance(default, tuple):
            if value is None:  # an empty list in YAML and in ROS has no type
                return ()
            if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
                return tuple(item for item in value if item)
        elif isinstance(default, float):
            if (
                isinstance(value, int | float)
                and not isinstance(value, bool)
                and self._is_in_range(value)
            ):
                return float(value)
        elif type(value) is type(default) and (
            re.fullmatch(self.pattern, value)
            if isinstance(value, str)
            else self._is_in_range(value)
        ):
            return value
        hint = (
            f'; as a list it is [{one_line(value, MAX_SHOWN)}]'
            if isinstance(default, tuple) and isinstance(value, str)
            else ''
        )
        raise ValueError(
            f'{self.name} must be {self.accepted_values()}, got {format_value(value)}{hint}'
        )

    def _is_in_range(self, value: float) -> bool:
        is_special = bool(self.default_meaning) and value == self.default
        return is_special or (self.above < value and self.minimum <= value <= self.maximum)

    @property
    def closed_range(self) -> tuple[float, float]:
        """Smallest closed range that holds all accepted numbers."""
        lower = max(self.minimum, self.above)
        return min(lower, self.default) if self.default_meaning else lower, self.maximum

    def accepted_values(self) -> str:
        """Return the accepted values in words."""
        if self.expected:
            return self.expected
        if isinstance(self.default, tuple):
            return 'a list of strings'
        if isinstance(self.default, bool):
            return 'true or false'
        if isinstance(self.default, str):
            return 'a string'
        kind = 'a number' if isinstance(self.default, float) else 'an integer'
        if self.above > self.minimum:
            return f'{kind} over {self.above:g} and at most {self.maximum:g}'
        special = f'{self.default:g} ({self.default_meaning}) or ' if self.default_meaning else ''
        return f'{special}{kind} from {self.minimum:g} to {self.maximum:g}'


def setting(default: Any, description: str, **limits: Any) -> Any:
    """Return a dataclass field that holds its own declaration.

    Args:
        default: see `Setting`, as for the others.
        description: whole sentences, as they appear in tables of the documentation.
        limits: further attributes of `Setting`.

    Returns:
        What the annotated name of a dataclass's body is assigned to.

    Example:
        >>> @dataclass(frozen=True)
        ... class FilterConfig:
        ...     gain: float = setting(0.5, 'Share of a new value.', above=0, maximum=1)
        ...     def __post_init__(self) -> None:
        ...         check_settings(self, 'filter.')
        >>> FilterConfig(gain=0)
        Traceback (most recent call last):
        ValueError: filter.gain must be a number over 0 and at most 1, got 0
    """
    return field(
        default=default, metadata={'setting': Setting('', default, description, **limits)}
    )


def settings_of(config: Any, prefix: str = '') -> tuple[Setting, ...]:
    """Return the declarations of a dataclass, their names with a prefix."""
    return tuple(replace(f.metadata['setting'], name=prefix + f.name) for f in fields(config))


def check_settings(config: Any, prefix: str = '') -> None:
    """Check all values of a dataclass whose fields are settings.

    Raises:
        ValueError: for the first value that its declaration does not allow.
    """
    for declared in settings_of(config, prefix):
        declared.check(getattr(config, declared.name.removeprefix(prefix)))


def format_value(value: Any) -> str:
    """Return a value for an error message, in one short line."""
    return one_line(repr(value.tolist() if isinstance(value, array) else value), MAX_SHOWN)
