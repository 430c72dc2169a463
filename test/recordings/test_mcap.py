# SPDX-License-Identifier: Apache-2.0
"""Mcap files in all forms, with damage, foreign channels and decompression bombs."""

import struct
import zlib
from pathlib import Path

import lz4.frame
import pytest
from backports import zstd
from replay_bags import START_NS, TYPES, string

from panoptic_ros.recordings import mcap as module
from panoptic_ros.recordings.bag import Bag

KIND, TOPIC = 'std_msgs/msg/String', '/notes'
PACK = {'': bytes, 'zstd': zstd.compress, 'lz4': lz4.frame.compress}


def text(value: str) -> bytes:
    return struct.pack('<I', len(value.encode())) + value.encode()


def record(kind: int, content: bytes) -> bytes:
    return struct.pack('<BQ', kind, len(content)) + content


def schema(number: int, name: str, encoding: str = 'ros2msg', data: str = 'string data') -> bytes:
    return record(3, struct.pack('<H', number) + text(name) + text(encoding) + text(data))


def channel(number: int, kind: int, topic: str, encoding: str = 'cdr') -> bytes:
    return record(4, struct.pack('<HH', number, kind) + text(topic) + text(encoding) + text(''))


def message(number: int, place: int, data: bytes | None = None) -> bytes:
    if data is None:
        data = bytes(TYPES.store.serialize_cdr(string(str(place)), KIND))
    return record(5, struct.pack('<HIQQ', number, 0, START_NS + place, 0) + data)


def chunk(
    data: bytes,
    packing: str = '',
    size: int | None = None,
    checksum: int | None = None,
    packed: bytes | None = None,
) -> bytes:
    packed = PACK[packing](data) if packed is None else packed
    return record(
        6,
        struct.pack(
            '<QQQI',
            0,
            0,
            len(data) if size is None else size,
            zlib.crc32(data) if checksum is None else checksum,
        )
        + text(packing)
        + struct.pack('<Q', len(packed))
        + packed,
    )


MAGIC = b'\x89MCAP0\r\n'
HEAD = MAGIC + record(1, text('ros2') + text('test'))
NAMES = schema(1, KIND) + channel(1, 1, TOPIC)
END = record(15, bytes(4)) + record(2, bytes(20)) + MAGIC


def indexed(
    chunks: list[tuple[bytes, int, int]],
    names: bytes = NAMES,
    chunk_count: int = 0,
    channels: tuple[int, ...] = (1,),
) -> bytes:
    """Return a file with an index from (chunk, first message, last message)."""
    offsets = b''.join(struct.pack('<HQ', number, 0) for number in channels)
    data, index, total = HEAD, names, 0
    for content, first, last in chunks:
        index += record(
            8,
            struct.pack('<QQQQ', START_NS + first, START_NS + last, len(data), len(content))
            + struct.pack('<I', len(offsets))
            + offsets
            + struct.pack('<Q', 0)
            + text('')
            + struct.pack('<QQ', 0, 0),
        )
        data += content
        total += last + 1 - first
    index += record(
        11,
        struct.pack('<QHIIIIQQ', total, 1, 1, 0, 0, chunk_count or len(chunks), 0, 0)
        + struct.pack('<IHQ', 10, 1, total),
    )
    data += record(15, bytes(4))
    start = len(data)
    tail = struct.pack('<BQQQ', 2, 20, start, 0)
    return data + index + tail + struct.pack('<I', zlib.crc32(index + tail)) + MAGIC


def read(path: Path, data: bytes, topic: str = TOPIC) -> tuple[list[str], str]:
    """Return the texts of the messages, and the damage."""
    path = path / 'file.mcap'
    path.write_bytes(data)
    with Bag(path) as bag:
        found = [
            record.message.data if record.message else record.problem
            for record in bag.records([topic])
        ]
        return found, bag.damage


def messages(first: int, last: int) -> bytes:
    return b''.join(message(1, place) for place in range(first, last + 1))


def numbers(*places: int) -> list[str]:
    return [str(place) for place in places]


@pytest.mark.parametrize(
    'data',
    [
        HEAD + NAMES + messages(0, 3) + END,  # without chunks and index
        HEAD + NAMES + message(1, 2) + message(1, 0) + message(1, 3) + message(1, 1) + END,
        HEAD + chunk(NAMES + messages(0, 1)) + chunk(messages(2, 3)) + END,
        HEAD + record(0x80, b'private') + chunk(NAMES + messages(0, 3), 'lz4') + END,
        indexed([(chunk(NAMES + messages(0, 1), 'zstd'), 0, 1), (chunk(messages(2, 3)), 2, 3)]),
        indexed([(chunk(NAMES + messages(2, 3)), 2, 3), (chunk(messages(0, 1)), 0, 1)]),
        # chunks that overlap in time
        indexed(
            [
                (chunk(NAMES + message(1, 0) + message(1, 2)), 0, 2),
                (chunk(message(1, 1) + message(1, 3)), 1, 3),
            ]
        ),
        # an index that leaves out the names, or a chunk
        indexed([(chunk(NAMES + messages(0, 3)), 0, 3)], names=b''),
        indexed([(chunk(NAMES + messages(0, 3)), 0, 3)], chunk_count=2),
    ],
)
def test_messages_come_by_time(tmp_path, data):
    assert read(tmp_path, data) == (numbers(0, 1, 2, 3), '')


GOOD = indexed(
    [
        (chunk(NAMES + messages(0, 9)), 0, 9),
        (chunk(messages(10, 19), 'zstd'), 10, 19),
        (chunk(messages(20, 29)), 20, 29),
    ]
)


@pytest.mark.parametrize(
    'data',
    [
        GOOD[:-1],
        GOOD[:-60],
        GOOD.replace(b'std_msgs', b'sdt_msgs', 2),  # the index is not right
        GOOD + b'trash',
    ],
)
def test_without_its_index_a_file_is_read_through(tmp_path, data):
    if b'sdt_msgs' in data:  # only in the index
        data = data.replace(b'sdt_msgs', b'std_msgs', 1)
    found, damage = read(tmp_path, data)
    assert found == numbers(*range(30))
    assert 'file.mcap: ' in damage


@pytest.mark.parametrize('place', [2**64 - 1, 2**62, len(GOOD), len(GOOD) - 50, 0])
def test_an_index_that_points_elsewhere_is_not_used(tmp_path, place):
    first = len(HEAD).to_bytes(8, 'little')
    (start,) = struct.unpack('<Q', GOOD[-28:-20])
    data = GOOD[:start] + GOOD[start:-12].replace(first, place.to_bytes(8, 'little'), 1)
    found, damage = read(tmp_path, data + bytes(4) + MAGIC)  # no checksum
    assert found == numbers(*range(30))
    assert 'outside' in damage


def test_a_damaged_chunk_costs_its_own_messages_only(tmp_path):
    place = GOOD.find(b'\x28\xb5\x2f\xfd') + 30
    found, damage = read(tmp_path, GOOD[:place] + b'\xff\xff' + GOOD[place + 2 :])
    assert found == numbers(*range(10), *range(20, 30))
    assert 'damaged' in damage
    place = GOOD.find(b'zstd') + 300
    found, damage = read(tmp_path, GOOD[:place])  # and cut short
    assert set(found) >= set(numbers(*range(10)))
    assert 'cut short' in damage


@pytest.mark.parametrize(
    ('names', 'reason'),
    [
        (
            schema(2, 'LocationFix', 'jsonschema', '{}') + channel(2, 2, '/other', 'json'),
            "as 'json'",
        ),
        (schema(2, 'own_msgs/msg/Wheel', 'unknown', '') + channel(2, 2, '/other'), 'own_msgs'),
        (
            schema(2, 'own_msgs/msg/Wheel', 'ros2msg', 'no such syntax ((')
            + channel(2, 2, '/other'),
            'own_msgs',
        ),
        (schema(2, 'own_msgs/msg/Wheel', '', '') + channel(2, 2, '/other'), 'own_msgs'),
        (channel(2, 0, '/other', 'cdr'), 'its type'),
        (
            schema(2, 'foxglove.CompressedImage', 'protobuf', '\0')
            + channel(2, 2, '/other', 'protobuf'),
            'protobuf',
        ),
        (channel(2, 99, '/other', 'cbor'), 'cbor'),
    ],
)
def test_foreign_channels_do_not_close_a_file(tmp_path, names, reason):
    for data in (
        HEAD + NAMES + names + message(2, 0, b'{}') + messages(1, 3) + END,
        *(
            indexed(
                [(chunk(NAMES + names + message(2, 0, b'{}') + messages(1, 3)), 0, 3)],
                names=NAMES + names,
                channels=channels,
            )
            for channels in ((1, 2), ())
        ),
    ):
        assert read(tmp_path, data) == (numbers(1, 2, 3), '')
        (problem,) = read(tmp_path, data, '/other')[0]
        assert 'cannot be decoded' in problem and reason in problem


def test_messages_of_ros_1_in_an_mcap_are_read(tmp_path):
    names = schema(1, 'std_msgs/String', 'ros1msg') + channel(1, 1, TOPIC, 'ros1')
    data = HEAD + names + message(1, 0, struct.pack('<I', 5) + b'hello') + END
    assert read(tmp_path, data) == (['hello'], '')


BOMB = zstd.compress(bytes(1 << 26))


@pytest.mark.parametrize(
    'bomb',
    [
        chunk(b'', 'zstd', size=1 << 26, packed=BOMB),  # says what it is
        chunk(b'', 'zstd', size=5000, packed=BOMB),  # does not
        chunk(b'', 'zstd', size=2**64 - 1, packed=BOMB),
        chunk(b'', 'lz4', size=1 << 26, packed=lz4.frame.compress(bytes(1 << 26))),
        record(6, b'short'),
        record(6, struct.pack('<QQQII', 0, 0, 0, 0, 2**32 - 1) + b'zstd'),
    ],
)
def test_bombs_are_not_unpacked(tmp_path, monkeypatch, bomb):
    monkeypatch.setattr(module, 'MAX_BYTES', 1 << 20)
    monkeypatch.setattr('panoptic_ros.recordings.unpack.MAX_BYTES', 1 << 20)
    for data in (
        HEAD + NAMES + bomb + messages(0, 2) + END,
        indexed([(chunk(NAMES + messages(0, 2)), 0, 2), (bomb, 0, 2)]),
    ):
        found, damage = read(tmp_path, data)
        assert found == numbers(0, 1, 2)
        assert damage


def test_chunks_that_claim_the_same_time_are_not_all_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'MAX_BYTES', 2000)
    blocks = [
        (
            chunk(
                (NAMES if place == 0 else b'')
                + message(1, place, b'\0\1\0\0' + struct.pack('<I', 501) + b'x' * 500 + b'\0')
            ),
            0,
            0,
        )
        for place in range(40)
    ]
    held: list[int] = []
    own = module.heapq.heappush

    def push(heap, item):
        own(heap, item)
        held.append(len(heap))

    monkeypatch.setattr(module.heapq, 'heappush', push)
    assert len(read(tmp_path, indexed(blocks))[0]) == 40
    assert max(held) <= 5


@pytest.mark.parametrize(
    'data',
    [b'', MAGIC, HEAD, HEAD[:12], b'something else' * 9, HEAD + b'\xff' * 500, indexed([])[:-8]],
)
def test_a_file_without_messages_ends_in_one_line(tmp_path, data):
    with pytest.raises(ValueError, match='cannot be read as a bag') as caught:
        read(tmp_path, data)
    assert '\n' not in str(caught.value)
