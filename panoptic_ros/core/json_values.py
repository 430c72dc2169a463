# SPDX-License-Identifier: Apache-2.0
"""Checked values of JSON objects of unknown origin.

Each function raises a ValueError that names the key, the expected value and the actual one.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any, TypeVar

from panoptic_ros.core.labels import as_bool
from panoptic_ros.core.text import short

T = TypeVar('T')
Item = Mapping[str, Any]

MAX_NUMBER = 2**31 - 1
"""Largest category id, and largest height or width of an image in px."""

MAX_TEXT = 1000
"""Largest number of characters of a name or a path."""

NO_TEXT = re.compile('[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]')
"""Control characters, those that reverse the order of others when they are shown, and surrogates,
which no file name can hold."""


def each(values: object, what: str, parse: Callable[[Item], T]) -> list[T]:
    """Parse each object of a list.

    Args:
        values: list of objects.
        what: name of the list in error messages.
        parse: parses one object; raises ValueError for an invalid one.

    Returns:
        The parsed objects, in order.

    Raises:
        ValueError: if `values` is not a list of objects or one of them is invalid; the message
            gives its index.
    """
    if not isinstance(values, list):
        raise ValueError(f'{what} must be a list, got {short(values)}')
    parsed = []
    for i, value in enumerate(values):
        try:
            if not isinstance(value, dict):
                raise ValueError(f'expected an object, got {short(value)}')
            parsed.append(parse(value))
        except ValueError as error:  # noqa: PERF203
            raise ValueError(f'{what}[{i}]: {error}') from None
    return parsed


def number(entry: Item, key: str, low: int = 0, high: int = MAX_NUMBER) -> int:
    """Return a whole number from `low` to `high`; 3.0 and the text '3' are accepted as 3.

    Raises:
        ValueError: if the value is missing, not such a number or out of range.
    """
    value = _present(entry, key)
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        found = None
    elif isinstance(value, str):
        found = int(value) if re.fullmatch(r'[0-9]{1,10}', value) else None
    else:
        found = int(value) if value == value // 1 and abs(value) < 2**53 else None
    if found is None or not low <= found <= high:
        raise ValueError(f'{key} must be a whole number from {low} to {high}, got {short(value)}')
    return found


def identity(entry: Item, key: str) -> int | str:
    """Return an image's id: a whole number, or a text that is none.

    Some tools write an id as a number in one place and as a text in another, so the text '3' is
    returned as 3.

    Raises:
        ValueError: if the value is missing or neither of the two.
    """
    value = _present(entry, key)
    if isinstance(value, str):
        return int(value) if re.fullmatch('0|[1-9][0-9]{0,14}', value) else text(entry, key)
    if (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and abs(value) < 2**53
        and value == value // 1
    ):
        return int(value)
    raise ValueError(f'{key} must be a whole number or a text, got {short(value)}')


def flag(entry: Item, key: str, default: bool | None = None) -> bool:
    """Return a truth value, written as true, false, 0 or 1 or as one of these as text.

    Args:
        entry: an object of the file.
        key: key of the value.
        default: value if it is missing or null; None if it is required.

    Raises:
        ValueError: if the value is missing without a default, or anything else.
    """
    if default is not None and entry.get(key) is None:
        return default
    return as_bool(_present(entry, key), key)


def text(entry: Item, key: str) -> str:
    """Return a text that is not blank.

    Raises:
        ValueError: if the value is missing, of another type, too long or holds control characters.
    """
    value = _present(entry, key)
    if (
        not isinstance(value, str)
        or not value.strip()
        or len(value) > MAX_TEXT
        or NO_TEXT.search(value)
    ):
        raise ValueError(
            f'{key} must be a text of up to {MAX_TEXT} characters without control '
            f'characters, got {short(value)}'
        )
    return value


def file_name(entry: Item) -> str:
    """Return the value `file_name`: a relative path with forward slashes.

    Raises:
        ValueError: if it is missing, absolute, or leads out of the folder of the files.
    """
    value = text(entry, 'file_name').replace('\\', '/')
    path = PurePosixPath(value)
    if path.is_absolute() or re.match('[A-Za-z]:/', value) or '..' in path.parts or not path.name:
        raise ValueError(
            f'file_name must be a path inside the folder of the files, got {short(value)}'
        )
    return str(path)


def _present(entry: Item, key: str) -> Any:
    value = entry.get(key)
    if value is None:
        raise ValueError(f'`{key}` is missing')
    return value
