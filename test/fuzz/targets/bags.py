# SPDX-License-Identifier: Apache-2.0
"""Bags of each storage and compression, damaged and forged.

Messages that are lost must be noticed: the bag says so, or a record does. What is read of a bag
that is cut short, without a word, must be what was recorded.
"""

import bz2
import sqlite3
import struct
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import lz4.frame
import numpy as np

from fuzz import mutate
from fuzz.case import Case, Target, Wrong
from fuzz.targets.yaml_files import changed as changed_yaml
from fuzz.targets.yaml_files import load as load_yaml
from panoptic_ros.recordings.bag import Bag
from panoptic_ros.recordings.bag_types import BagTypes, ros1_typestore
from panoptic_ros.recordings.unpack import _zstd

START_NS, STEP_NS, COUNT = 1_700_000_000_000_000_000, 1_000_000, 12
STRING, IMAGE = 'std_msgs/msg/String', 'sensor_msgs/msg/Image'
TOPICS = {'/notes': STRING, '/camera/image_raw': IMAGE}
BAG = 'bag'


@cache
def types() -> BagTypes:
    return BagTypes()


def messages() -> list[tuple[str, int, Any]]:
    """Return topic, time and message of a recording."""
    made = []
    for number in range(COUNT):
        time_ns = START_NS + number * STEP_NS
        if number % 3:
            made.append(('/notes', time_ns, types().make(STRING, data=f'note {number} ' * 3)))
        else:
            stamp = types().make('builtin_interfaces/msg/Time', sec=number, nanosec=0)
            image = types().make(
                IMAGE,
                header=types().make('std_msgs/msg/Header', stamp=stamp, frame_id='front'),
                **{'height': 2, 'width': 3, 'encoding': 'rgb8', 'step': 9},
                data=np.arange(number, number + 18, dtype=np.uint8),
            )
            made.append(('/camera/image_raw', time_ns, image))
    return made


def summary(message: Any) -> str:
    """Return the content of a message as text."""
    if hasattr(message, 'encoding'):
        return f'{message.header.stamp.sec} {message.width} {bytes(message.data).hex()}'
    return str(message.data)


@cache
def recorded() -> list[list[Any]]:
    return [[topic, time_ns, summary(message)] for topic, time_ns, message in messages()]


def cdr(message: Any, kind: str) -> bytes:
    return bytes(types().store.serialize_cdr(message, kind))


# Storage files ---------------------------------------------------------------------------------


@cache
def rosbag2(storage: str, mode: str) -> dict[str, bytes]:
    """Return the files of a bag by rosbags' writer."""
    from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, BAG)
        writer = Writer(path, version=9, storage_plugin=StoragePlugin[storage.upper()])
        if mode != 'none':
            writer.set_compression(CompressionMode[mode.upper()], CompressionFormat.ZSTD)
        with writer:
            connections = {
                topic: writer.add_connection(topic, kind, typestore=types().store)
                for topic, kind in TOPICS.items()
            }
            for topic, time_ns, message in messages():
                writer.write(connections[topic], time_ns, cdr(message, TOPICS[topic]))
        return {f'{BAG}/{file.name}': file.read_bytes() for file in sorted(path.iterdir())}


@cache
def rosbag1(compression: str) -> dict[str, bytes]:
    """Return a bag of ROS 1."""
    from rosbags.rosbag1 import Writer

    store = ros1_typestore()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'drive.bag')
        writer = Writer(path)
        if compression != 'none':
            writer.set_compression(Writer.CompressionFormat[compression.upper()])
        writer.chunk_threshold = 300
        with writer:
            connections = {
                topic: writer.add_connection(topic, kind, typestore=store)
                for topic, kind in TOPICS.items()
            }
            for topic, time_ns, message in messages():
                writer.write(connections[topic], time_ns, ros1(store, message))
        return {f'{BAG}/drive.bag': path.read_bytes()}


def ros1(store: Any, message: Any) -> bytes:
    """Return a message in ROS 1's encoding, whose header has a sequence number."""
    if not hasattr(message, 'encoding'):
        return bytes(store.serialize_ros1(store.types[STRING](data=message.data), STRING))
    header = store.types['std_msgs/msg/Header'](
        seq=0, stamp=message.header.stamp, frame_id=message.header.frame_id
    )
    names = ('height', 'width', 'encoding', 'is_bigendian', 'step', 'data')
    image = store.types[IMAGE](header=header, **{name: getattr(message, name) for name in names})
    return bytes(store.serialize_ros1(image, IMAGE))


PACK: dict[str, Callable[[bytes], bytes]] = {
    '': bytes,
    'zstd': lambda data: _zstd().compress(data),
    'lz4': lz4.frame.compress,
    'bz2': bz2.compress,
}


def text(value: str) -> bytes:
    data = value.encode('utf-8', 'surrogatepass')
    return struct.pack('<I', len(data)) + data


def record(kind: int, content: bytes, size: int | None = None) -> bytes:
    return struct.pack('<BQ', kind, len(content) if size is None else size) + content


def mcap(rng: Random, forge: bool = False) -> bytes:
    """Return a storage file with chunks, an index and checksums, or without some of them.

    Args:
        rng: chooses its form.
        forge: write some wrong numbers and names, with right checksums.
    """

    def number(value: int, bits: int = 64) -> int:
        if forge and rng.random() < 0.03:
            value = rng.choice((value + 1, value - 1, value * 2, rng.choice(mutate.NUMBERS)))
        return value % 2**bits

    def name(value: str) -> str:
        if forge and rng.random() < 0.03:
            value = rng.choice((*mutate.TEXTS, value + rng.choice(mutate.TEXTS), 'ros1', 'json'))
        return value

    magic, packing = b'\x89MCAP0\r\n', rng.choice(('', 'zstd', 'lz4'))
    names = b''
    for i, (topic, kind) in enumerate(TOPICS.items(), 1):
        names += record(
            3, struct.pack('<H', number(i, 16)) + text(name(kind)) + text('ros2msg') + text('')
        )
        names += record(
            4,
            struct.pack('<HH', number(i, 16), number(i, 16))
            + text(name(topic))
            + text(name('cdr'))
            + text(''),
        )
    ids = {topic: i for i, topic in enumerate(TOPICS, 1)}
    packed_messages = []
    for topic, time_ns, message in messages():
        head = struct.pack('<HIQQ', number(ids[topic], 16), 0, number(time_ns), 0)
        data = cdr(message, TOPICS[topic])
        if rng.random() < 0.1:
            data = PACK['zstd'](data)
        packed_messages.append((time_ns, record(5, head + data, number(len(head + data)))))
    out, index, with_index = magic + record(1, text('ros2') + text('')), names, rng.random() < 0.7
    if rng.random() < 0.2:  # without chunks
        out += names + b''.join(data for _, data in packed_messages)
        chunks = 0
        with_index = False
    else:
        size = rng.choice((3, 5, COUNT))
        groups = [packed_messages[i : i + size] for i in range(0, COUNT, size)]
        chunks = len(groups)
        for group in groups:
            data = names + b''.join(data for _, data in group)
            packed = PACK[packing](data)
            chunk = record(
                6,
                struct.pack(
                    '<QQQI',
                    number(group[0][0]),
                    number(group[-1][0]),
                    number(len(data)),
                    number(zlib.crc32(data), 32),
                )
                + text(name(packing))
                + struct.pack('<Q', number(len(packed)))
                + packed,
            )
            counts = b''.join(struct.pack('<HQ', number(i, 16), 0) for i in (1, 2))
            index += record(
                8,
                struct.pack(
                    '<QQQQI',
                    number(group[0][0]),
                    number(group[-1][0]),
                    number(len(out)),
                    len(chunk),
                    number(len(counts), 32),
                )
                + counts
                + struct.pack('<Q', 0)
                + text(name(packing))
                + struct.pack('<QQ', 0, 0),
            )
            out += chunk
    per_topic = Counter(topic for topic, _, _ in messages())
    index += record(
        11,
        struct.pack('<QHIIIIQQ', number(COUNT), 2, 2, 0, 0, number(chunks, 32), 0, 0)
        + struct.pack('<I', 20)
        + b''.join(struct.pack('<HQ', ids[topic], number(per_topic[topic])) for topic in TOPICS),
    )
    out += record(15, bytes(4))
    if not with_index:
        return out + record(2, bytes(20)) + magic
    tail = struct.pack('<BQQQ', 2, 20, number(len(out)), 0)
    return out + index + tail + struct.pack('<I', zlib.crc32(index + tail)) + magic


FORGERIES = (
    'UPDATE messages SET timestamp = {value} WHERE id = {row}',
    'UPDATE messages SET topic_id = {value} WHERE id = {row}',
    'UPDATE messages SET data = {value} WHERE id = {row}',
    'UPDATE topics SET name = {value}',
    'UPDATE topics SET type = {value} WHERE id = 1',
    'UPDATE topics SET serialization_format = {value} WHERE id = 1',
    'INSERT INTO topics SELECT id + 10, name, type, serialization_format, offered_qos_profiles, '
    'type_description_hash FROM topics',
    "INSERT INTO sqlite_master VALUES ('table', 'aaa', 'aaa', 2, 'ATTACH ''canary'' AS e')",
    "INSERT INTO sqlite_master VALUES ('table', 'aaa', 'aaa', 2, 'CREATE TABLE aaa(x); ATTACH "
    "''canary'' AS e')",
    'ALTER TABLE messages RENAME TO m; CREATE VIEW messages AS SELECT * FROM m',
    'CREATE TRIGGER t AFTER INSERT ON messages BEGIN DELETE FROM messages; END',
    'CREATE INDEX i ON messages(timestamp, hex(data))',
    'DROP TABLE topics',
    'ALTER TABLE messages ADD COLUMN x AS (randomblob(1000000000))',
    'CREATE TABLE "topics; ATTACH \'canary\' AS e; --"(x)',
    'PRAGMA user_version = 77',
    'PRAGMA encoding = "UTF-16"',
    'ALTER TABLE messages RENAME COLUMN data TO payload',
)

VALUES = (
    *("'; ATTACH ''canary'' AS e; --'", 'NULL', '1.5', "'text'", "x'00'", '-1', '0', '99'),
    *('9223372036854775807', '-9223372036854775808', "CAST(x'ff00fe' AS TEXT)", '1e300', "''"),
    *('zeroblob(3000000)', "x'28b52ffd'", "x'00010000ffffffff'", "'cdr'", "'std_msgs/msg/Int8'"),
)


def forge_sqlite(rng: Random, data: bytes) -> bytes:
    """Return a storage file after SQL statements."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'x.db3')
        path.write_bytes(data)
        database = sqlite3.connect(path)
        with suppress(sqlite3.Error):  # a statement may spoil the file for those after it
            database.execute('PRAGMA writable_schema = ON')
            for _ in range(rng.choice((1, 1, 2))):
                command = rng.choice(FORGERIES).format(
                    value=rng.choice(VALUES), row=rng.randrange(1, COUNT + 1)
                )
                is_one = 'master' in command or '"' in command
                for part in [command] if is_one else command.split('; '):
                    database.execute(part)
            database.commit()
        database.close()
        return path.read_bytes()


# Cases -----------------------------------------------------------------------------------------


def harm(rng: Random, data: bytes) -> tuple[bytes, str]:
    """Return bytes after an accident of a disk or a recorder, and its name."""
    kind = rng.choice(('cut', 'cut', 'zero', 'change'))
    if kind == 'cut':
        return mutate.cut(rng, data), kind
    if kind == 'zero':  # a block that was not written
        size = rng.choice((16, 512, 4096))
        start = rng.randrange(len(data)) // size * size
        return data[:start] + bytes(len(data[start : start + size])) + data[start + size :], kind
    return mutate.some_bytes(rng, data), kind


def make(rng: Random, files: dict[str, bytes], forge: Callable[[bytes], bytes] | None) -> Case:
    """Return a case of a bag: intact, damaged or forged, its files or their names."""
    files, links = dict(files), {}
    stored = next(name for name in files if not name.endswith('.yaml'))
    metadata = f'{BAG}/metadata.yaml'
    # A file that is recorded without metadata is opened itself.
    truth: dict[str, Any] = {'kind': 'intact', 'open': BAG if metadata in files else stored}
    chance = rng.random()
    if chance < 0.1:
        truth['intact'] = True
    elif chance < 0.55:
        files[stored], truth['kind'] = harm(rng, files[stored])
    elif chance < 0.75 and forge:
        files[stored], truth['kind'] = forge(files[stored]), 'forged'
    elif chance < 0.9 and metadata in files:
        document = load_yaml(files[metadata])
        if rng.random() < 0.4:
            names = document['rosbag2_bagfile_information']['relative_file_paths']
            names[0] = rng.choice(('../outside.mcap', '/etc/passwd', '..', '.', *mutate.TEXTS))
        files[metadata], truth['kind'] = changed_yaml(rng, document), 'metadata'
    else:
        truth = {'kind': 'names', 'open': BAG}
        kind = rng.randrange(5)
        if kind == 0:
            files.pop(metadata, None)
        elif kind == 1 and not stored.endswith('.zstd'):
            data = files.pop(stored)
            packed = PACK['zstd'](data)
            files[f'{stored}.zstd'] = (
                packed if rng.random() < 0.5 else mutate.some_bytes(rng, packed)
            )
        elif kind == 2:
            files[f'{stored}-{rng.choice(("wal", "journal"))}'] = rng.choice(
                (rng.randbytes(600), b'\xd9\xd5\x05\xf9\x20\xa1\x63\xd7' * 80, files[stored])
            )
        elif kind == 3:
            links[f'{BAG}/other{Path(stored).suffix}'] = rng.choice(
                (
                    '/dev/zero',
                    '/nothing',
                    '.',
                    Path(stored).name,
                    '../try',
                    f'other{Path(stored).suffix}',
                )
            )
        else:
            files[f'{BAG}/x{rng.choice((".mcap", ".db3", ".bag", ".MCAP", ".db3.zstd"))}'] = b''
    return Case(files, truth, links)


def make_sqlite(rng: Random) -> Case:
    mode = rng.choice(('none', 'none', 'file', 'message'))
    files = rosbag2('sqlite3', mode)
    return make(rng, files, None if mode == 'file' else lambda data: forge_sqlite(rng, data))


def make_mcap(rng: Random) -> Case:
    mode = rng.choice(('none', 'storage', 'own', 'own', 'own'))
    if mode != 'own':
        return make(rng, rosbag2('mcap', mode), None)
    files = {f'{BAG}/drive.mcap': mcap(rng)}
    if rng.random() < 0.5:
        stored = rosbag2('mcap', 'none')
        files[f'{BAG}/metadata.yaml'] = stored[f'{BAG}/metadata.yaml'].replace(
            b'bag.mcap', b'drive.mcap'
        )
    return make(rng, files, lambda data: mcap(rng, True))


def make_ros1(rng: Random) -> Case:
    return make(rng, rosbag1(rng.choice(('none', 'bz2', 'lz4'))), None)


# Check -----------------------------------------------------------------------------------------


def check(case: Case, folder: Path) -> None:
    with Bag(folder / case.truth['open']) as bag:
        records = list(bag.records(list(bag.topics))) if bag.topics else []
        damage = bag.damage
        listed = sum(topic.messages for topic in bag.topics.values())
    noticed = bool(damage) or any(entry.problem for entry in records)
    if len(damage) > 1000 or not damage.isprintable():
        raise Wrong(f'text: the damage is described by {damage!r}')
    for entry in records:
        if (entry.message is None) != bool(entry.problem) or not entry.problem.isprintable():
            raise Wrong(f'record: {entry}')
    kind = case.truth['kind']
    read = [
        [entry.topic, entry.time_ns, summary(entry.message)] for entry in records if entry.message
    ]
    if kind == 'intact':
        if read != recorded() or noticed or listed != COUNT:
            raise Wrong(f'intact: read {len(read)}, damage {damage!r}')
    elif kind in ('cut', 'zero', 'change'):
        if len(records) < COUNT and not noticed:
            raise Wrong(f'lost after {kind}: read {len(records)} of {COUNT} messages, silently')
        if kind == 'cut' and not noticed:
            unknown = [entry for entry in read if entry not in recorded()]
            if unknown:
                raise Wrong(f'content: {unknown[0]} was not recorded')
    times = [entry.time_ns for entry in records]
    if times != sorted(times) and kind in ('intact', 'cut', 'metadata'):
        raise Wrong('order: messages do not come by time')


TARGETS = (
    Target('bag_sqlite3', make_sqlite, check),
    Target('bag_mcap', make_mcap, check),
    Target('bag_ros1', make_ros1, check),
)
