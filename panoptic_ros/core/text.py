# SPDX-License-Identifier: Apache-2.0
"""Texts of unknown origin, shortened for log lines and diagnostics."""

from __future__ import annotations

MAX_TEXT = 300
"""Most characters of such a text; an image's encoding may be a megabyte long."""

MAX_REASON = 2000
"""Most characters of why something failed; several engines may each have a reason."""


def one_line(text: object, limit: int = MAX_TEXT) -> str:
    """Return a text in one line of at most `limit` characters, and dots where it was cut."""
    words = ' '.join(str(text)[: 4 * limit].split())
    return words if len(words) <= limit else f'{words[:limit]}...'


def reason_of(error: BaseException, limit: int = MAX_REASON) -> str:
    """Return what an exception says, in one line; its type's name if it says nothing."""
    return one_line(error, limit) or type(error).__name__
