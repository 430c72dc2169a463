# SPDX-License-Identifier: Apache-2.0
"""Decompression stops at its limits."""

import bz2

import lz4.frame
import pytest
from backports import zstd

from panoptic_ros.recordings import unpack as module
from panoptic_ros.recordings.unpack import (
    MAX_BYTES,
    UnpackError,
    unpack,
    unpack_file,
    unpack_message,
)

PACK = {'zstd': zstd.compress, 'lz4': lz4.frame.compress, 'bz2': bz2.compress}


@pytest.mark.parametrize('kind', PACK)
def test_a_block_is_unpacked(kind):
    data = bytes(range(256)) * 400
    assert unpack(kind, PACK[kind](data), len(data)) == (data, True)
    assert unpack('', data, len(data)) == (data, True)


@pytest.mark.parametrize('kind', PACK)
def test_a_block_gives_no_more_than_was_expected(kind):
    bomb = PACK[kind](bytes(1 << 24))
    with pytest.raises(UnpackError, match='unpacks to more than the 1000 bytes'):
        unpack(kind, bomb, 1000)
    with pytest.raises(UnpackError, match='over the limit'):
        unpack(kind, bomb, MAX_BYTES + 1)


@pytest.mark.parametrize('kind', PACK)
def test_a_cut_block_gives_what_is_there(kind):
    data = bytes(range(256)) * 4000
    packed = PACK[kind](data)
    out, is_complete = unpack(kind, packed[:-9], len(data))
    assert not is_complete and data.startswith(out)


@pytest.mark.parametrize(
    ('kind', 'reason'),
    [
        ('zstd', 'damaged zstd'),
        ('lz4', 'damaged lz4'),
        ('bz2', 'damaged bz2'),
        ('rar', "compression must be .* got 'rar'"),
        ('', 'more than the 9 bytes'),
    ],
)
def test_other_data_are_refused(kind, reason):
    with pytest.raises(UnpackError, match=reason):
        unpack(kind, b'nothing of the kind' * 9, 9)


def test_a_message_is_unpacked_if_it_is_packed(monkeypatch):
    message = b'\0\1\0\0' + bytes(500)
    assert unpack_message(message) == message
    assert unpack_message(zstd.compress(message)) == message
    with pytest.raises(UnpackError, match='cut short'):
        unpack_message(zstd.compress(message)[:-2])
    with pytest.raises(UnpackError, match='damaged'):
        unpack_message(zstd.compress(message)[:5])
    streamed = zstd.ZstdCompressor()  # does not know the size beforehand
    packed = streamed.compress(message) + streamed.flush()
    assert unpack_message(packed) == message
    monkeypatch.setattr(module, 'MAX_BYTES', 400)
    with pytest.raises(UnpackError, match='504 bytes is over the limit'):
        unpack_message(zstd.compress(message))
    with pytest.raises(UnpackError, match='more than the 400 bytes'):
        unpack_message(packed)


@pytest.mark.parametrize('frames', [1, 5])
def test_a_file_is_unpacked(tmp_path, frames):
    data = bytes(range(256)) * 20_000
    part = len(data) // frames
    packed = b''.join(zstd.compress(data[i * part : (i + 1) * part]) for i in range(frames))
    source, target = tmp_path / 'packed', tmp_path / 'plain'
    source.write_bytes(packed)
    assert unpack_file(source, target) == ''
    assert target.read_bytes() == data
    source.write_bytes(packed[:-9])
    assert 'cut short' in unpack_file(source, target)
    source.write_bytes(packed + b'trash')
    assert 'damaged' in unpack_file(source, target)


def test_a_file_grows_no_further_than_its_limit(tmp_path, monkeypatch):
    source, target = tmp_path / 'packed', tmp_path / 'plain'
    source.write_bytes(zstd.compress(bytes(1 << 26)))  # 6 kB
    monkeypatch.setattr(module, 'MAX_FILE_BYTES', 1 << 20)
    with pytest.raises(UnpackError, match='the limit for a file of its size'):
        unpack_file(source, target)
    assert target.stat().st_size <= 2 << 20
