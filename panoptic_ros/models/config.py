# SPDX-License-Identifier: Apache-2.0
"""Constants of all families, and configurations: their base class, rules and building."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, get_origin, get_type_hints

from panoptic_ros.core.model_info import Threshold
from panoptic_ros.core.text import did_you_mean

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

MAP_STRIDE = 4
"""Input pixels per cell of the maps that networks predict."""

NEVER = -1e4
"""Score or logit below all others; finite, so that no engine turns it into NaN."""

TYPES: dict[Any, tuple[type, ...]] = {
    int: (int,),
    float: (float, int),
    bool: (bool,),
    str: (str,),
    tuple: (tuple,),
}
"""Types that a field accepts, by its annotation."""

Rule = tuple[str, Callable[[Any], bool]]
"""Rule for the value of a field: what it must be, for the message, and whether a value is so."""

POSITIVE: Rule = ('be above 0', lambda value: value > 0)
NOT_NEGATIVE: Rule = ('not be negative', lambda value: value >= 0)
ODD: Rule = ('be odd', lambda value: value % 2 == 1)
SHARE: Rule = ('lie in 0 to 1', lambda value: 0 <= value <= 1)
POSITIVE_SHARE: Rule = ('lie above 0 and up to 1', lambda value: 0 < value <= 1)
SHARE_BELOW_1: Rule = ('lie in 0 to below 1', lambda value: 0 <= value < 1)
BETWEEN_0_AND_1: Rule = ('lie between 0 and 1', lambda value: 0 < value < 1)


def one_of(*allowed: Any) -> Rule:
    """Return the rule that a value is one of those allowed."""
    return f'be one of {allowed}', lambda value: value in allowed


def at_least(least: float) -> Rule:
    """Return the rule that a number is at least `least`."""
    return f'be at least {least}', lambda value: value >= least


def all_at_least(least: int) -> Rule:
    """Return the rule that a sequence holds numbers of at least `least`, and is not empty."""
    return (
        f'be numbers of at least {least}',
        lambda values: bool(values) and min(values) >= least,
    )


class Rules(dict[str, Rule]):
    """Rules by field."""


class Config:
    """Base class of configurations, whose fields must obey `rules`."""

    section: ClassVar[str] = 'network'
    """Name of the configured thing, for messages."""

    rules: ClassVar[Rules]
    """Rules by field; those of all base classes hold as well."""

    earlier: ClassVar[Mapping[str, Any]] = {}
    """Values of fields that earlier versions lacked, by field: how their networks were trained."""

    def __post_init__(self) -> None:
        """Raise ValueError for a value that breaks a rule."""
        for base in reversed(type(self).__mro__):
            self.check(vars(base).get('rules', {}))

    def check(self, rules: Mapping[str, Rule]) -> None:
        """Raise ValueError for a field that breaks its rule."""
        for name, (rule, holds) in rules.items():
            value = getattr(self, name)
            if not holds(value):
                raise ValueError(f'{self.section}.{name} must {rule}, got {value!r}')


def threshold(default: float, maximum: float, description: str) -> Any:
    """Declare a field that is a scalar input of the graph, from 0 to `maximum`."""
    return dataclasses.field(
        default=default, metadata={'maximum': maximum, 'description': description}
    )


@dataclasses.dataclass(frozen=True)
class FamilyConfig(Config):
    """Base class of the families' configurations: normalisation, stride and thresholds."""

    rules = Rules(stride=one_of(1, 2, 4))

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    stride: int = 1
    """Input pixels per cell of the decoded maps: 1, 2 or 4."""

    def thresholds(self) -> dict[str, Threshold]:
        """Return the scalar inputs of the graph, by name."""
        return {
            field.name: Threshold(getattr(self, field.name), minimum=0, **field.metadata)
            for field in dataclasses.fields(self)
            if field.metadata
        }


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
    hints = get_type_hints(config_class)
    kinds = {field.name: hints[field.name] for field in dataclasses.fields(config_class)}
    unknown = sorted(set(values) - set(kinds))
    if unknown:
        raise ValueError(
            f'unknown key {unknown[0]!r} for {what}{did_you_mean(unknown[0], kinds)}; the keys '
            f'are: {", ".join(kinds)}'
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
        expected = TYPES.get(get_origin(kinds[key]) or kinds[key], (object,))
        if not isinstance(value, expected) or (isinstance(value, bool) and int in expected):
            kind = inspect.formatannotation(kinds[key])
            raise ValueError(f'{what}: {key} must be {kind}, got {value!r}')
    return config_class(**values)
