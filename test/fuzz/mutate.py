# SPDX-License-Identifier: Apache-2.0
"""Mutators of bytes, texts and plain values."""

import math
from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

NUMBERS = (
    *(0, 1, -1, 2, 3, 7, 8, 100, 127, 128, 255, 256, 257, 1000, 4095, 32767, 32768, 65535, 65536),
    *(2**24 - 1, 2**24, 2**31 - 1, 2**31, -(2**31), 2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63),
    *(-(2**63), 2**64 - 1, 2**64, 10**18, 10**30, -(10**30), 10**400),
)
FLOATS = (
    0.0,
    -0.0,
    0.5,
    1.5,
    -1.5,
    1e-320,
    1e30,
    1e38,
    1e39,
    1e308,
    math.nan,
    math.inf,
    -math.inf,
)
TEXTS = (
    *('', ' ', '0', '-1', '3', 'true', 'null', 'NaN', 'nan', '.inf', '~', 'a' * 2000, '\0', '\n'),
    *(
        '..',
        '../outside',
        '/etc/passwd',
        'C:\\x',
        'a/../../b',
        '.',
        './',
        '//',
        'a\\..\\b',
        '%s%n',
    ),
    *(
        '\ud800',
        '\ufeff',
        '\u202e',
        'ü' * 40,
        '日本',
        '🚗',
        '\x1b[2J',
        'é',
        'e\u0301',
        '{0}',
        '$HOME',
    ),
    *("'; DROP TABLE messages; --", "' OR 1=1", '!!python/name:os.system', '__class__', 'self'),
)


def scalar(rng: Random) -> Any:
    """Return a number, text, truth value or None that readers may not expect."""
    kind = rng.randrange(5)
    if kind == 0:
        return rng.choice(NUMBERS)
    if kind == 1:
        return rng.choice(FLOATS)
    if kind == 2:
        return rng.choice(TEXTS)
    if kind == 3:
        return rng.choice((True, False, None))
    return rng.randrange(-20, 300)


def nested(rng: Random) -> Any:
    """Return lists or mappings inside each other, few or very many."""
    value: Any = scalar(rng)
    for _ in range(rng.choice((1, 2, 5, 50, 70, 400))):
        value = [value] if rng.random() < 0.5 else {'a': value}
    return value


def anything(rng: Random) -> Any:
    """Return a value of any type."""
    kind = rng.randrange(8)
    if kind == 0:
        return nested(rng)
    if kind == 1:
        return [scalar(rng) for _ in range(rng.choice((0, 1, 2, 3, 4, 300)))]
    if kind == 2:
        return {str(scalar(rng)): scalar(rng) for _ in range(rng.randrange(4))}
    return scalar(rng)


def _places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Return (container, key) of each value inside, iteratively as values may be deep."""
    waiting = [value]
    while waiting:
        inside = waiting.pop()
        keys = (
            list(inside)
            if isinstance(inside, dict)
            else range(len(inside))
            if isinstance(inside, list)
            else ()
        )
        for key in keys:
            found.append((inside, key))
            waiting.append(inside[key])
    return found


def _near(rng: Random, value: Any) -> Any:
    """Return a value that resembles another one: its neighbours, or itself as another type."""
    if isinstance(value, bool):
        return rng.choice((not value, int(value), str(value), str(value).lower(), float(value)))
    if isinstance(value, int):
        real = float(value) if abs(value) < 10**300 else math.inf
        return rng.choice((value + 1, value - 1, -value, real, str(value), real + 0.5))
    if isinstance(value, float):
        return rng.choice((-value, value * 2, value / 2, str(value), [value]))
    if isinstance(value, str):
        place = rng.randrange(len(value) + 1)
        return rng.choice(
            (
                value + rng.choice(TEXTS),
                value[:place] + value[place + 1 :],
                value[:place] + rng.choice(TEXTS)[:20] + value[place:],
                value.upper(),
                [value],
                value.encode(errors='replace').decode('latin-1'),
            )
        )
    return anything(rng)


def value(rng: Random, document: Any) -> Any:
    """Return a copy of plain values with one to three changes."""
    if rng.random() < 0.01:
        return anything(rng)
    document = deepcopy(document)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = _places(document, [])
        if not places:
            return anything(rng)
        inside, key = rng.choice(places)
        kind = rng.randrange(10)
        if kind < 3:
            inside[key] = _near(rng, inside[key])
        elif kind < 5:
            inside[key] = anything(rng)
        elif kind == 5:
            del inside[key]
        elif kind == 6:  # another value of the same document
            other, other_key = rng.choice(places)
            inside[key] = deepcopy(other[other_key]) if other_key in _keys(other) else None
        elif kind == 7:
            if isinstance(inside, list):
                inside.insert(rng.randrange(len(inside) + 1), deepcopy(inside[key]))
            else:
                other_key = key + rng.choice(('x', ' ', 's', '.a', '\0', rng.choice(TEXTS)))
                inside[other_key] = inside[key] if rng.random() < 0.5 else inside.pop(key)
        elif kind == 8 and isinstance(inside, list):
            rng.shuffle(inside)
        elif isinstance(inside, dict):
            inside[rng.choice(TEXTS)] = anything(rng)
        else:
            inside.append(anything(rng))
    return document


def _keys(inside: Any) -> Any:
    return inside if isinstance(inside, dict) else range(len(inside))


def _integer(rng: Random) -> bytes:
    size = rng.choice((1, 2, 4, 8))
    number = rng.choice(NUMBERS[:-3]) % 2 ** (8 * size)
    return number.to_bytes(size, rng.choice(('little', 'big')))


def _flip(rng: Random, data: bytearray, place: int) -> None:
    data[place] ^= 1 << rng.randrange(8)


def _set(rng: Random, data: bytearray, place: int) -> None:
    data[place] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))


def _overwrite(rng: Random, data: bytearray, place: int) -> None:
    piece = _integer(rng)
    data[place : place + len(piece)] = piece


def _step(rng: Random, data: bytearray, place: int) -> None:
    """Add a little to an integer of four bytes."""
    order = rng.choice(('little', 'big'))
    number = int.from_bytes(data[place : place + 4], order) + rng.randrange(-3, 4)
    size = len(data[place : place + 4])
    data[place : place + 4] = (number % 2 ** (8 * size)).to_bytes(size, order)


def _delete(rng: Random, data: bytearray, place: int) -> None:
    del data[place : place + rng.choice((1, 2, 4, 8, 64, 1000))]


def _insert(rng: Random, data: bytearray, place: int) -> None:
    size = rng.choice((1, 2, 4, 8, 64))
    data[place:place] = rng.choice((bytes(size), rng.randbytes(size), b'\xff' * size))


def _repeat(rng: Random, data: bytearray, place: int) -> None:
    piece = data[place : place + rng.choice((1, 4, 16, 100, 1000))]
    data[place:place] = piece


def _zero(rng: Random, data: bytearray, place: int) -> None:
    size = len(data[place : place + rng.choice((1, 4, 16, 100, 512, 4096))])
    data[place : place + size] = bytes(size)


def _move(rng: Random, data: bytearray, place: int) -> None:
    other = rng.randrange(len(data))
    size = rng.choice((1, 4, 16, 100, 512))
    piece = data[other : other + size]
    data[place : place + len(piece)] = piece


def _cut(rng: Random, data: bytearray, place: int) -> None:
    del data[place:]


_CHANGES: tuple[Callable[[Random, bytearray, int], None], ...] = (
    *(_flip, _flip, _set, _overwrite, _overwrite, _step, _delete, _insert, _repeat, _zero, _move),
)


def some_bytes(rng: Random, data: bytes) -> bytes:
    """Return bytes with one to eight changes."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 4, 8))):
        if out:
            change = _cut if rng.random() < 0.08 else rng.choice(_CHANGES)
            # Most meaning is at the start and at the end.
            near = rng.random() < 0.4
            span = min(len(out), 64)
            place = rng.randrange(span) if near else rng.randrange(len(out))
            if near and rng.random() < 0.4:
                place = len(out) - 1 - place
            change(rng, out, place)
    return bytes(out)


def cut(rng: Random, data: bytes) -> bytes:
    """Return the first bytes."""
    return data[: rng.randrange(len(data))]


LINES = (
    *(
        'a: &a [1, 2]',
        'b: *a',
        '<<: *a',
        'x: &x [*x]',
        '? [1, 2]',
        '? {a: 1}\n: 2',
        '- 1',
        '---',
        '...',
    ),
    *(
        '%YAML 9.9',
        '\t- tab',
        '"open',
        "'open",
        '{',
        ']',
        '!!binary "aGk="',
        '!!set {a, b}',
        '=: 1',
    ),
    *('!!python/object/apply:os.mkdir [canary]', '!!python/object/new:os.mkdir [canary]'),
    *('d: 2001-01-01', 'n: 1e999', 'n: .nan', 'n: 0x7fffffffffffffffffff', 'n: 1_000', 'o: 0o17'),
    *(
        'y: yes',
        'n: no',
        's: 190:20:30',
        'k: [a: 1, b]',
        'null: 1',
        '1: 2',
        'true: 1',
        '!!omap [a: 1]',
    ),
    *('z: 9999-99-99', 'z: 2001-13-45 25:61:61', '!!int "x"', '!!float "x"', '!!timestamp "x"'),
)
"""Lines with the rarer forms of YAML, and with tags that would run code."""


def yaml_text(rng: Random, text: str) -> bytes:
    """Return the bytes of a YAML text with changes of lines and bytes."""
    lines = text.split('\n')
    for _ in range(rng.choice((1, 1, 2, 3))):
        place, kind = rng.randrange(len(lines)), rng.randrange(8)
        indent = ' ' * rng.choice((0, 2, 4, 6))
        if kind == 0:
            lines.insert(place, lines[rng.randrange(len(lines))])
        elif kind == 1:
            lines.insert(place, indent + rng.choice(LINES))
        elif kind == 2:
            lines[place] = indent + lines[place].strip()
        elif kind == 3:
            key, colon, _ = lines[place].partition(':')
            lines[place] = f'{key}{colon} {rng.choice(LINES).partition(": ")[2] or scalar(rng)}'
        elif kind == 4:
            lines[place] = lines[place].replace(
                ':', rng.choice((' ', '::', ': -', ': |', ': >', ': !!str '))
            )
        elif kind == 5 and len(lines) > 1:
            del lines[place]
        else:
            lines[place] += str(scalar(rng)) if rng.random() < 0.5 else ' # x'
    data = '\n'.join(lines).encode('utf-8', 'surrogatepass')
    if rng.random() < 0.15:
        data = some_bytes(rng, data)
    if rng.random() < 0.03:
        data = rng.choice((b'\xef\xbb\xbf', b'\xff\xfe', b'\0')) + data
    return data
