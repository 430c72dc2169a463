# SPDX-License-Identifier: Apache-2.0
"""Problems and notes, each with what to do."""

from dataclasses import dataclass
from typing import Any

Facts = dict[str, Any]
"""What was found, in values that JSON can hold."""


@dataclass(frozen=True)
class Finding:
    """Something that the reader of the page should know or change."""

    text: str
    """What is wrong."""

    remedy: str
    """What to do."""

    is_problem: bool = True
    """False for a note: it may be as intended."""


def note(text: str, remedy: str) -> Finding:
    """Return a finding that is not a problem by itself."""
    return Finding(text, remedy, is_problem=False)
