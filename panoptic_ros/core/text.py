# SPDX-License-Identifier: Apache-2.0
"""Short texts for logs, diagnostics and the command line."""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches

MAX_TEXT = 300
"""Maximum length of a line; an image's encoding may be a megabyte long."""

MAX_REASON = 2000
"""Maximum length of a reason for a failure; each of several engines may have one."""


def one_line(text: object, limit: int = MAX_TEXT) -> str:
    r"""Return a text as one line of at most `limit` characters; dots mark a cut.

    Characters that cannot be shown, such as those that control a terminal, are escaped.

    >>> one_line('red\n\x1b[2J')
    'red \\x1b[2J'
    """
    words = ' '.join(str(text)[: 4 * limit].split())
    if not words.isprintable():
        words = ''.join(
            c if c.isprintable() else c.encode('unicode_escape').decode() for c in words
        )
    return words if len(words) <= limit else f'{words[:limit]}...'


def short(value: object) -> str:
    """Return a value as text for an error message, cut to 60 characters."""
    try:
        words = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits
        words = f'a {type(value).__name__}'
    return words if len(words) <= 60 else f'{words[:57]}...'


def reason_of(error: BaseException, limit: int = MAX_REASON) -> str:
    """Return an exception's message as one line, or its type's name if it has none."""
    return one_line(error, limit) or type(error).__name__


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, which gets an `s` unless the number is 1.

    >>> counted(1, 'image'), counted(3, 'image')
    ('1 image', '3 images')
    """
    return f'{number} {noun}' if number == 1 else f'{number} {noun}s'


def did_you_mean(name: str, known: Iterable[str], least: float = 0.6) -> str:
    """Return the question for the most similar known name; empty if none is similar.

    Args:
        name: the unknown name.
        known: the known ones.
        least: smallest similarity, 0 to 1.

    >>> did_you_mean('scroe', ['score', 'export'])
    '; did you mean score?'
    """
    near = get_close_matches(name, list(known), 1, least)
    return f'; did you mean {near[0]}?' if near else ''


def saved_lines(
    summary: str,
    places: Sequence[str],
    names: Iterable[str] = (),
    next_command: Sequence[str] = (),
) -> Iterator[str]:
    """Yield the last lines of a command that has written something; none without a place.

    Args:
        summary: what the command did, in a few words.
        places: the files and folders that it wrote.
        names: files and folders in the only place that a user will want to open.
        next_command: words of the `panoptic` command that a user will usually give next.

    >>> for line in saved_lines('8 images written', ['mine'], (), ('data', 'check', 'mine')):
    ...     print(line)
    8 images written; saved to mine
    next: panoptic data check mine
    """
    if not places:
        return
    inside = ', '.join(names)
    yield f'{summary}; saved to {" and ".join(places)}' + (f' ({inside})' if inside else '')
    if next_command:
        yield f'next: {shlex.join(("panoptic", *next_command))}'
