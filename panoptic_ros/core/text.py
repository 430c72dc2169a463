# SPDX-License-Identifier: Apache-2.0
"""Texts of unknown origin, as short lines for logs and diagnostics."""

MAX_TEXT = 300
"""Maximum length of a line; an image's encoding may be a megabyte long."""

MAX_REASON = 2000
"""Maximum length of a reason for a failure; each of several engines may have one."""


def one_line(text: object, limit: int = MAX_TEXT) -> str:
    """Return a text as one line of at most `limit` characters; dots mark a cut."""
    words = ' '.join(str(text)[: 4 * limit].split())
    return words if len(words) <= limit else f'{words[:limit]}...'


def reason_of(error: BaseException, limit: int = MAX_REASON) -> str:
    """Return an exception's message as one line, or its type's name if it has none."""
    return one_line(error, limit) or type(error).__name__
