"""Texts of unknown origin, made fit for a log line or a status."""

from __future__ import annotations

MAX_TEXT = 300
"""Most characters of such a text; an image's encoding may be a megabyte long."""


def one_line(text: object, limit: int = MAX_TEXT) -> str:
    """The text in one line, cut off after so many characters."""
    words = ' '.join(str(text)[:4 * limit].split())
    return words if len(words) <= limit else f'{words[:limit]}...'
