"""Texts of unknown origin, shortened for log lines and diagnostics."""

from __future__ import annotations

MAX_TEXT = 300
"""Most characters of such a text; an image's encoding may be a megabyte long."""


def one_line(text: object, limit: int = MAX_TEXT) -> str:
    """Return a text in one line of at most `limit` characters, and dots where it was cut."""
    words = ' '.join(str(text)[:4 * limit].split())
    return words if len(words) <= limit else f'{words[:limit]}...'
