# SPDX-License-Identifier: Apache-2.0
"""Constants of all families, and building of configurations from plain values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

MAP_STRIDE = 4
"""Input pixels per cell of the maps that networks predict."""

NEVER = -1e4
"""Score or logit below all others; finite, so that no engine turns it into NaN."""

TYPES: dict[str, tuple[type, ...]] = {
    'int': (int,),
    'float': (float, int),
    'bool': (bool,),
    'str': (str,),
    'tuple': (tuple,),
}
"""Types that a field accepts, by its annotation."""


def configure(config_class: type, values: Mapping[str, Any], what: str) -> Any:
    """Build a dataclass from plain values as JSON or YAML holds them.

    Args:
        config_class: dataclass; values of int, float, bool, str and tuple fields are checked.
        values: values by field; the others keep their defaults.
        what: name of the configured thing, for messages.

    Raises:
        ValueError: if a key is unknown (the message lists the known ones), a key without a
            default is missing, or a value has the wrong type.
    """
    kinds = {field.name: str(field.type) for field in dataclasses.fields(config_class)}
    unknown = sorted(set(values) - set(kinds))
    if unknown:
        raise ValueError(
            f'unknown key {unknown[0]!r} for {what}; the keys are: {", ".join(kinds)}'
        )
    missing = [
        field.name
        for field in dataclasses.fields(config_class)
        if field.default is field.default_factory is dataclasses.MISSING
        and field.name not in values
    ]
    if missing:
        raise ValueError(f'{what} needs the key {missing[0]!r}')
    # JSON and YAML have no tuples; the configuration's sequences are all tuples.
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    for key, value in values.items():
        expected = TYPES.get(kinds[key].partition('[')[0], (object,))
        if not isinstance(value, expected) or (isinstance(value, bool) and int in expected):
            raise ValueError(f'{what}: {key} must be {kinds[key]}, got {value!r}')
    return config_class(**values)
