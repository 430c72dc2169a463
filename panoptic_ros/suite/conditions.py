# SPDX-License-Identifier: Apache-2.0
"""Conditions on the figures of a comparison: `pq < -0.5`."""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from panoptic_ros.core.text import did_you_mean, short

OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    '<=': operator.le,
    '>=': operator.ge,
    '<': operator.lt,
    '>': operator.gt,
}

_FORM = re.compile(r'\s*(\S.*?)\s*(<=|>=|<|>)\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*')


@dataclass(frozen=True)
class Condition:
    """A figure compared with a number."""

    figure: str
    sign: str
    number: float

    def __str__(self) -> str:
        return f'{self.figure} {self.sign} {self.number:g}'

    def holds(self, figures: Mapping[str, float | None]) -> bool:
        """Return whether the condition holds.

        Raises:
            ValueError: if there is no such figure, or it has no value.
        """
        if self.figure not in figures:
            raise ValueError(
                f'--fail-if: there is no figure {short(self.figure)}'
                f'{did_you_mean(self.figure, figures)} (as pq, pq:CLASS, pq@TAG, regressions)'
            )
        value = figures[self.figure]
        if value is None:
            raise ValueError(f'--fail-if {self}: {self.figure} has no value in one of the runs')
        return OPERATORS[self.sign](value, self.number)


def parse_condition(text: str) -> Condition:
    """Parse `FIGURE <, <=, > or >= NUMBER`.

    Raises:
        ValueError: for any other text.

    >>> print(parse_condition('pq@night<-0.50'))
    pq@night < -0.5
    """
    match = _FORM.fullmatch(text)
    if not match:
        raise ValueError(
            f'--fail-if must be a figure, one of {" ".join(OPERATORS)} and a number, as '
            f'"pq < -0.5"; got {short(text)}'
        )
    return Condition(match[1], match[2], float(match[3]))
