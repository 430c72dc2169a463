# SPDX-License-Identifier: Apache-2.0
"""Tables in PointCloud2 messages, against a reader that unpacks value by value."""

import base64
import struct
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np

from fuzz import mutate
from fuzz.case import Case, Target, Wrong
from panoptic_ros.core.frame import read_instances, segment_dtype

CODES = {1: 'b', 2: 'B', 3: 'h', 4: 'H', 5: 'i', 6: 'I', 7: 'f', 8: 'd'}
KINDS = {'i1': 1, 'u1': 2, 'i2': 3, 'u2': 4, 'i4': 5, 'u4': 6, 'f4': 7, 'f8': 8}


def own_fields(rng: Random) -> list[dict[str, Any]]:
    """Return the fields of `panoptic/instances`, of which some may be missing."""
    dtype = segment_dtype(rng.choice((0, 1, 3, 8)))
    fields = []
    for name in dtype.names or ():
        kind, offset = dtype.fields[name][:2]  # type: ignore[index]
        fields.append(
            {
                'name': name,
                'offset': offset,
                'datatype': KINDS[kind.base.str[1:]],
                'count': int(np.prod(kind.shape, dtype=int)),
            }
        )
    if rng.random() < 0.3:
        fields = rng.sample(fields, rng.randrange(1, len(fields)))
    return fields


def other_fields(rng: Random) -> list[dict[str, Any]]:
    """Return random fields with gaps, without overlaps."""
    fields, offset = [], 0
    for number in range(rng.randrange(1, 6)):
        kind, count = rng.randrange(1, 9), rng.choice((0, 1, 1, 2, 5))
        offset += rng.choice((0, 0, 1, 4))
        fields.append({'name': f'f{number}', 'offset': offset, 'datatype': kind, 'count': count})
        offset += struct.calcsize(CODES[kind]) * max(1, count)
    return fields


def size_of(fields: list[dict[str, Any]]) -> int:
    return max(
        f['offset'] + struct.calcsize(CODES[f['datatype']]) * max(1, f['count']) for f in fields
    )


def make_table(rng: Random) -> Case:
    return make_points(rng, own_fields(rng) if rng.random() < 0.5 else other_fields(rng))


def make_points(rng: Random, fields: list[dict[str, Any]]) -> Case:
    """Return a message with some fields, valid or mutated."""
    rng.shuffle(fields)
    height, width = rng.choice((0, 1, 1, 1, 3)), rng.choice((0, 1, 2, 9))
    point_step = size_of(fields) + rng.choice((0, 0, 1, 8))
    row_step = width * point_step + rng.choice((0, 0, 5))
    values: dict[str, Any] = {
        'height': height,
        'width': width,
        'point_step': point_step,
        'row_step': row_step,
        'is_bigendian': rng.random() < 0.3,
        'fields': fields,
    }
    data = rng.randbytes(height * row_step)
    kind = rng.random()
    truth = {'message': values, 'data': base64.b64encode(data).decode()}
    if kind < 0.3:
        return Case({}, truth | {'intact': True})
    if kind < 0.4 and width:
        values['row_step'], data = 0, rng.randbytes(height * width * point_step)
    for _ in range(rng.choice((1, 1, 2))):
        if rng.random() < 0.5:
            name = rng.choice(('height', 'width', 'point_step', 'row_step'))
            old = values[name]
            near = (old + 1, max(0, old - 1), old * 2, old // 2)
            values[name] = rng.choice((*near, rng.choice(mutate.NUMBERS) % 2**32))
        elif fields:
            field = rng.choice(fields)
            name = rng.choice(tuple(field))
            if name == 'name':
                other = rng.choice(fields)['name']
                field[name] = rng.choice((*mutate.TEXTS, other, 'embedding'))
            else:
                most = 2**8 if name == 'datatype' else 2**32
                near = (field[name] + 1, max(0, field[name] - 1), 0)
                field[name] = rng.choice((*near, rng.choice(mutate.NUMBERS) % most))
    if rng.random() < 0.3:
        data = data[:-1] if rng.random() < 0.5 else data + b'\0'
    elif values['height'] * values['row_step'] < 100_000:
        data = rng.randbytes(values['height'] * values['row_step'])
    truth['data'] = base64.b64encode(data).decode()
    return Case({}, truth)


def check_table(case: Case, folder: Path) -> None:
    message = SimpleNamespace(**case.truth['message'])
    message.data = base64.b64decode(case.truth['data'])
    message.fields = [SimpleNamespace(**field) for field in message.fields]
    rows = read_instances(message)
    if len(rows) != message.height * message.width:
        raise Wrong(f'length: {len(rows)} rows of {message.height} x {message.width}')
    if list(rows.dtype.names or ()) != [field.name for field in message.fields]:
        raise Wrong(f'names: {rows.dtype.names}')
    row_step = message.row_step or message.width * message.point_step
    for index in range(min(len(rows), 30)):
        start = index // message.width * row_step + index % message.width * message.point_step
        for field in message.fields:
            count = field.count if field.name == 'embedding' else max(1, field.count)
            form = f'{">" if message.is_bigendian else "<"}{count}{CODES[field.datatype]}'
            place = start + field.offset
            want = np.array(struct.unpack_from(form, message.data, place), rows[field.name].dtype)
            got = np.asarray(rows[field.name][index])
            if np.isnan(want).all():  # NumPy may change the bits of a NaN, not that it is one
                agree = np.isnan(got).all()
            else:
                agree = np.array_equal(got.reshape(-1), want, equal_nan=got.dtype.kind == 'f')
            if not agree:
                raise Wrong(f'value: {field.name} of row {index} is {got}, expected {want}')


TARGETS = (Target('point_table', make_table, check_table, (ValueError,)),)
