# SPDX-License-Identifier: Apache-2.0
"""PointCloud2 messages with any content, read as instance tables."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panoptic_ros.core.frame import read_instances


def field(name, offset, datatype=7, count=1):
    return SimpleNamespace(name=name, offset=offset, datatype=datatype, count=count)


def cloud(fields, data, **changed):
    """Two points of 8 bytes in one row, unless changed."""
    sizes = {'height': 1, 'width': 2, 'point_step': 8, 'row_step': 16, 'is_bigendian': False}
    return SimpleNamespace(fields=fields, data=data, **(sizes | changed))


PAIR = [field('a', 0), field('b', 4, 6)]
NUMBERS = np.array([(1.5, 7), (2.5, 8)], [('a', '<f4'), ('b', '<u4')])


@pytest.mark.parametrize(
    ('data', 'changed'),
    [
        (NUMBERS.tobytes(), {}),
        (NUMBERS.tobytes(), {'row_step': 0}),  # as some senders write it
        (NUMBERS.tobytes(), {'height': 2, 'width': 1, 'row_step': 8}),
        (NUMBERS.astype([('a', '>f4'), ('b', '>u4')]).tobytes(), {'is_bigendian': True}),
        (np.frombuffer(NUMBERS.tobytes(), np.uint8), {'width': np.uint32(2)}),  # from rosbags
        (
            b''.join(row.tobytes() + b'pad.' for row in NUMBERS),  # padded rows
            {'height': 2, 'width': 1, 'row_step': 12},
        ),
    ],
)
def test_points_of_any_layout_are_read(data, changed):
    rows = read_instances(cloud(PAIR, data, **changed))
    assert rows['a'].tolist() == [1.5, 2.5] and rows['b'].tolist() == [7, 8]


def test_fields_in_any_order_with_gaps():
    rows = read_instances(cloud([field('b', 4, 4), field('a', 0, 2, 2)], bytes(range(16))))
    assert rows['a'].tolist() == [[0, 1], [8, 9]] and rows['b'].tolist() == [0x504, 0xD0C]
    assert rows.dtype.itemsize == 8


def test_an_empty_message_has_no_rows():
    assert len(read_instances(cloud(PAIR, b'', width=0, row_step=0))) == 0
    assert len(read_instances(cloud([], b'', height=0, width=0, point_step=0, row_step=0))) == 0


def test_count_0_means_1_except_for_the_embedding():
    rows = read_instances(cloud([field('a', 0, 7, 0), field('embedding', 8, 7, 0)], bytes(16)))
    assert rows['a'].shape == (2,) and rows['embedding'].shape == (2, 0)


@pytest.mark.parametrize(
    ('fields', 'changed'),
    [
        ([field('a', 2**31 - 4, 7, 4)], {}),  # numpy's own sum of these overflows
        ([field('embedding', 0, 8, 2**29)], {}),
        ([field('embedding', 4, 7, 2**30 - 1)], {}),
        ([field('a', 2**64 - 4, 7, 1)], {}),
        ([field('a', 5)], {}),  # one byte too far
        ([field('a', -4)], {}),
        ([field('a', 0, 7, -1)], {}),
        ([field('a', 0, 9)], {}),
        ([field('a', 0), field('a', 4)], {}),
        ([field(None, 0)], {}),
        ([field('a', 0.0)], {}),
        (PAIR, {'point_step': 2**31, 'width': 0, 'row_step': 0}),
        (PAIR, {'width': 2**61, 'row_step': 0}),  # 2**64 bytes are 0 in 64 bits
        (PAIR, {'width': np.uint32(2**29 + 2), 'point_step': np.uint32(8), 'row_step': 0}),
        (PAIR, {'height': -1, 'width': -2}),
        (PAIR, {'row_step': 8}),  # shorter than its points
        (PAIR, {'row_step': 24}),
        (PAIR, {'data': bytes(15)}),
        (PAIR, {'data': bytes(17)}),
        (PAIR, {'data': [0] * 16}),
        (PAIR, {'point_step': 0}),
        ([], {'point_step': 0, 'data': b'', 'width': 2**62, 'row_step': 0}),
    ],
)
def test_sizes_that_do_not_fit_are_refused(fields, changed):
    message = cloud(fields, bytes(16))
    vars(message).update(changed)
    with pytest.raises(ValueError):
        read_instances(message)


NUMBER = st.one_of(
    st.integers(0, 20),
    st.sampled_from(
        [-1, 2**29, 2**30, 2**31 - 4, 2**31 - 1, 2**31, 2**32 - 1, 2**61, 2**63, 2**64]
    ),
)
FIELD = st.builds(
    field, st.sampled_from(['a', 'b', 'embedding', '', 'é']), NUMBER, st.integers(0, 9), NUMBER
)


@settings(max_examples=400, deadline=None)
@given(
    fields=st.lists(FIELD, max_size=3),
    data=st.binary(max_size=64),
    height=NUMBER,
    width=NUMBER,
    point_step=NUMBER,
    row_step=NUMBER,
    is_bigendian=st.booleans(),
)
def test_any_message_is_read_or_refused(fields, data, **sizes):
    try:
        rows = read_instances(cloud(fields, data, **sizes))
    except ValueError:
        return
    assert len(rows) == sizes['height'] * sizes['width'] and rows.nbytes <= len(data)
    rows.tobytes()  # each byte can be read


@settings(max_examples=100, deadline=None)
@given(
    fields=st.lists(
        st.builds(
            field,
            st.sampled_from(['a', 'b', 'c']),
            st.integers(0, 12),
            st.integers(1, 8),
            st.integers(0, 3),
        ),
        max_size=2,
    ),
    height=st.integers(0, 3),
    width=st.integers(0, 3),
    point_step=st.integers(1, 16),
    padding=st.integers(0, 2),
)
def test_sizes_that_fit_are_read(fields, height, width, point_step, padding):
    row_step = width * point_step + padding
    message = cloud(
        fields,
        bytes(height * row_step),
        height=height,
        width=width,
        point_step=point_step,
        row_step=row_step,
    )
    ends = [f.offset + max(1, f.count) * (1, 1, 2, 2, 4, 4, 4, 8)[f.datatype - 1] for f in fields]
    if max(ends, default=0) > point_step or len({f.name for f in fields}) < len(fields):
        with pytest.raises(ValueError):
            read_instances(message)
    else:
        assert read_instances(message).shape == (height * width,)
