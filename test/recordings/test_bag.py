# SPDX-License-Identifier: Apache-2.0
"""Bags of every kind, damaged or not."""

import re
import shutil
import sqlite3

import numpy as np
import pytest
from replay_bags import (
    CAMERA,
    IMAGE,
    START_NS,
    STEP_NS,
    camera_info,
    drive,
    image,
    scene,
    write_bag,
)

from panoptic_ros.recordings.bag import Bag
from panoptic_ros.spatial.camera_model import read_camera_info

KINDS = [
    (storage, compression)
    for storage in ('sqlite3', 'mcap')
    for compression in ('none', 'message', 'file')
] + [('mcap', 'storage')]


def stamps(bag: Bag, topic: str = CAMERA) -> list[int]:
    return [
        record.message.header.stamp.sec * 10**9 + record.message.header.stamp.nanosec
        for record in bag.records([topic])
        if record.message is not None
    ]


def expected(count: int) -> list[int]:
    return [START_NS + i * STEP_NS for i in range(count)]


@pytest.mark.parametrize(('storage', 'compression'), KINDS)
def test_every_image_comes_in_order(tmp_path, storage, compression):
    path = write_bag(tmp_path / 'bag', drive(6), storage, compression)
    with Bag(path) as bag:
        assert bag.topics[CAMERA] == (IMAGE, 6)
        assert stamps(bag) == expected(6)
        assert stamps(bag) == expected(6)  # again
        first = next(bag.records([CAMERA])).message
        assert np.array_equal(first.data.reshape(64, 128, 3), scene(0))
        assert bag.damage == ''


def long_drive(tmp_path, storage, compression='none', count=120):
    """Write a bag with several chunks and pages, and return its folder and its file."""
    rng = np.random.default_rng(0)  # noise, so that compression leaves some bytes
    messages = [
        (
            CAMERA,
            IMAGE,
            START_NS + i * STEP_NS,
            image(rng.integers(0, 255, (64, 128, 3), np.uint8), START_NS + i * STEP_NS),
        )
        for i in range(count)
    ]
    path = write_bag(tmp_path / 'bag', messages, storage, compression)
    (file,) = (file for file in path.iterdir() if file.name != 'metadata.yaml')
    return path, file


@pytest.mark.parametrize(('storage', 'compression'), KINDS)
def test_a_file_that_is_cut_short_is_read_to_its_end(tmp_path, storage, compression):
    path, file = long_drive(tmp_path, storage, compression)
    data = file.read_bytes()
    file.write_bytes(data[: len(data) * 6 // 10])
    with Bag(path) as bag:
        found = stamps(bag)
        assert found == expected(120)[: len(found)]
        assert 24 <= len(found) <= 75
        assert bag.topics[CAMERA].messages == 120  # so that the loss can be counted
        assert bag.damage


@pytest.mark.parametrize(
    ('storage', 'compression'), [('sqlite3', 'none'), ('mcap', 'storage'), ('mcap', 'none')]
)
def test_a_hole_in_a_file_ends_it(tmp_path, storage, compression):
    path, file = long_drive(tmp_path, storage, compression)
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 70_000] = b'\xff' * 70_000
    file.write_bytes(bytes(data))
    with Bag(path) as bag:
        found = list(bag.records([CAMERA]))
        good = [r.time_ns for r in found if r.message is not None and r.message.height == 64]
        assert good[:40] == expected(120)[:40]
        assert len(found) < 120
        assert bag.damage


@pytest.mark.parametrize('storage', ['sqlite3', 'mcap'])
def test_a_bag_whose_recording_was_killed_has_no_metadata(tmp_path, storage):
    path, _ = long_drive(tmp_path, storage)
    (path / 'metadata.yaml').unlink()
    with Bag(path) as bag:
        assert stamps(bag) == expected(120)
        assert 'metadata' in bag.damage


@pytest.mark.parametrize('storage', ['sqlite3', 'mcap'])
def test_a_compressed_file_needs_no_metadata(tmp_path, storage):
    path = write_bag(tmp_path / 'bag', drive(6), storage, 'file')
    (path / 'metadata.yaml').unlink()
    (packed,) = path.iterdir()
    with Bag(path) as bag:
        assert stamps(bag) == expected(6)
    plain = write_bag(tmp_path / 'plain', drive(6), storage)  # compression was killed
    shutil.copy(next(plain.glob(f'*{packed.with_suffix("").suffix}')), packed.with_suffix(''))
    packed.write_bytes(packed.read_bytes()[:-99])
    with Bag(path) as bag:
        assert stamps(bag) == expected(6)


def test_endings_are_known_in_capitals(tmp_path):
    file = next(write_bag(tmp_path / 'bag', drive(3)).glob('*.mcap'))
    file = file.rename(file.with_name('DRIVE.MCAP'))
    (tmp_path / 'bag' / 'metadata.yaml').unlink()
    for path in (file, tmp_path / 'bag'):
        with Bag(path) as bag:
            assert stamps(bag) == expected(3)


def test_what_holds_nothing_is_refused_in_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match='no bag at'):
        Bag(tmp_path / 'nothing')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='cannot be read as a bag'):
        Bag(tmp_path / 'empty')
    (tmp_path / 'bad.mcap').write_bytes(b'nothing of the kind' * 10)
    with pytest.raises(ValueError, match=r'bad\.mcap is not an mcap file') as caught:
        Bag(tmp_path / 'bad.mcap')
    assert '\n' not in str(caught.value)


def test_a_message_that_cannot_be_decoded_is_told_of(tmp_path):
    path = write_bag(tmp_path / 'bag', drive(3, with_gt=False), 'sqlite3')
    with sqlite3.connect(next(path.glob('*.db3'))) as database:
        database.execute('UPDATE messages SET data = ? WHERE id = 2', (b'\0\1\0\0short',))
    with Bag(path) as bag:
        records = list(bag.records([CAMERA]))
    assert [bool(record.problem) for record in records] == [False, True, False]
    assert 'cannot be decoded' in records[1].problem


@pytest.mark.parametrize(('storage', 'compression'), KINDS)
def test_a_storage_file_is_enough(tmp_path, storage, compression):
    path = write_bag(tmp_path / 'bag', drive(6), storage, compression)
    (file,) = (file for file in path.iterdir() if file.name != 'metadata.yaml')
    with Bag(file) as bag:
        assert stamps(bag) == expected(6)
        assert bag.damage == ''


def split(tmp_path, count: int = 12) -> list[tuple]:
    """Write one storage file per image, the last ones with two digits, without metadata."""
    messages = list(drive(count, with_gt=False))
    (tmp_path / 'bag').mkdir()
    for place, one in enumerate(messages):
        part = write_bag(tmp_path / f'part_{place}', [one])
        shutil.move(next(part.glob('*.mcap')), tmp_path / 'bag' / f'bag_{place}.mcap')
    return messages


def test_files_of_a_split_bag_come_by_time(tmp_path):
    split(tmp_path)
    with Bag(tmp_path / 'bag') as bag:
        assert stamps(bag) == expected(12)


METADATA = """rosbag2_bagfile_information:
  relative_file_paths: [{files}]
  topics_with_message_count:
  - topic_metadata: {{name: /camera/image_raw}}
    message_count: 12
"""


@pytest.mark.parametrize(
    ('files', 'found', 'damage'),
    [
        (', '.join(f'bag_{place}.mcap' for place in range(12)), tuple(range(12)), ''),
        ('bag_0.mcap, bag_3.mcap', (0, 3), 'does not name bag_1.mcap, .* remove metadata'),
        ('a/b/bag_0.mcap', (0,), 'does not name bag_1.mcap'),  # as early versions had it
        ('../bag/bag_1.mcap', (1,), 'does not name bag_0.mcap'),
        ('bag_0.mcap.zstd, bag_1.mcap', (0, 1), 'does not name'),  # unpacked since
        ('bag_0.mcap, bag_77.mcap', (0,), 'files are missing .* bag_77.mcap'),
        ('bag_77.mcap', tuple(range(12)), 'files are missing'),  # renamed
        ('*a]', tuple(range(12)), 'not YAML'),
        ('&a [*a', tuple(range(12)), 'not YAML'),
        ('[' * 5000, tuple(range(12)), 'not YAML'),
    ],
)
def test_metadata_say_which_files(tmp_path, files, found, damage):
    split(tmp_path)
    (tmp_path / 'bag' / 'metadata.yaml').write_text(METADATA.format(files=files))
    with Bag(tmp_path / 'bag') as bag:
        assert stamps(bag) == [expected(12)[place] for place in found]
        assert re.search(damage, bag.damage) if damage else bag.damage == ''
        assert bag.topics[CAMERA].messages == 12


@pytest.mark.parametrize(
    'content',
    [
        '',
        '7',
        '[]',
        'rosbag2_bagfile_information: 5',
        '\0',
        METADATA.format(files='bag_0.mcap').replace('12', '.inf'),
    ],
)
def test_metadata_that_are_none_do_not_close_a_bag(tmp_path, content):
    split(tmp_path)
    (tmp_path / 'bag' / 'metadata.yaml').write_text(content)
    with Bag(tmp_path / 'bag') as bag:
        assert stamps(bag) == expected(12)
        assert 'metadata.yaml' in bag.damage


def test_one_bad_file_does_not_close_a_bag(tmp_path):
    split(tmp_path)
    (tmp_path / 'bag' / 'bag_4.mcap').write_bytes(b'trash')
    with Bag(tmp_path / 'bag') as bag:
        assert stamps(bag) == [*expected(12)[:4], *expected(12)[5:]]


def ros1_bag(path, compression: str):
    from rosbags.rosbag1 import Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS1_NOETIC)
    writer = Writer(path)
    if compression:
        writer.set_compression(Writer.CompressionFormat[compression])
    with writer:
        connection = writer.add_connection(CAMERA, IMAGE, typestore=store)
        for i, stamp in enumerate(expected(5)):
            made = image(scene(i), stamp)
            header = store.types['std_msgs/msg/Header'](i, made.header.stamp, 'front')
            writer.write(
                connection,
                stamp,
                store.serialize_ros1(
                    store.types[IMAGE](
                        header, made.height, made.width, made.encoding, 0, made.step, made.data
                    ),
                    IMAGE,
                ),
            )
    return path


def test_the_camera_info_of_ros_1_has_the_fields_of_ros_2(tmp_path):
    from rosbags.rosbag1 import Writer
    from rosbags.typesys import Stores, get_typestore

    store, kind = get_typestore(Stores.ROS1_NOETIC), 'sensor_msgs/msg/CameraInfo'
    info = camera_info(5)
    header = store.types['std_msgs/msg/Header'](0, info.header.stamp, 'front')
    fields = [getattr(info, name.lower()) for name, _ in store.fielddefs[kind][1][1:]]
    with Writer(tmp_path / 'drive.bag') as writer:
        connection = writer.add_connection('/camera_info', kind, typestore=store)
        writer.write(connection, 5, store.serialize_ros1(store.types[kind](header, *fields), kind))
    with Bag(tmp_path / 'drive.bag') as bag:
        (record,) = bag.records(['/camera_info'])
    assert read_camera_info(record.message, False) == read_camera_info(info, False)


@pytest.mark.parametrize('compression', ['', 'BZ2', 'LZ4'])
def test_a_bag_of_ros_1_is_read(tmp_path, monkeypatch, compression):
    path = ros1_bag(tmp_path / 'drive.bag', compression)
    with Bag(path) as bag:
        assert bag.topics[CAMERA] == (IMAGE, 5)
        assert stamps(bag) == expected(5)
        monkeypatch.setattr('panoptic_ros.recordings.ros1.MAX_BYTES', 50_000)
        bombs = Bag(path)
        assert stamps(bombs) == []
        assert 'unpacks to more' in bombs.damage or 'holds more' in bombs.damage


@pytest.mark.parametrize('time_ns', [-5 * 10**9, 0, 2**31 * 10**9, 2**32 * 10**9, 2**63 - 2])
@pytest.mark.parametrize('storage', ['sqlite3', 'mcap'])
def test_any_time_of_recording_is_read(tmp_path, storage, time_ns):
    if time_ns < 0 and storage == 'mcap':
        pytest.skip('the format has no such times')
    path = write_bag(
        tmp_path / 'bag', [(CAMERA, IMAGE, max(time_ns, 0), image(scene(0), 1))], storage
    )
    if time_ns < 0:
        with sqlite3.connect(next(path.glob('*.db3'))) as database:
            database.execute('UPDATE messages SET timestamp = ?', (time_ns,))
    with Bag(path) as bag:
        assert [record.time_ns for record in bag.records([CAMERA])] == [time_ns]
        assert bag.start_ns == time_ns


@pytest.mark.parametrize(('storage', 'compression'), KINDS)
def test_messages_that_the_metadata_lists_are_missed(tmp_path, storage, compression):
    path = write_bag(tmp_path / 'bag', drive(6, with_gt=False), storage, compression)
    metadata = path / 'metadata.yaml'
    metadata.write_text(metadata.read_text().replace('message_count: 6', 'message_count: 7'))
    with Bag(path) as bag:
        assert stamps(bag) == expected(6)
        assert bag.damage == (
            f'messages on {CAMERA} are missing: the files hold 6, metadata.yaml lists 7'
        )


def test_an_sqlite_file_that_lacks_a_piece_of_its_last_page_is_damaged(tmp_path):
    path, file = long_drive(tmp_path, 'sqlite3', count=3)
    data = file.read_bytes()
    (path / 'metadata.yaml').unlink()
    file.write_bytes(data[:-1])
    with Bag(file) as bag:
        list(bag.records([CAMERA]))
        assert f'it has {len(data) - 1} of {len(data)} bytes' in bag.damage


def test_rows_without_a_topic_or_a_time_are_missed(tmp_path):
    _, file = long_drive(tmp_path, 'sqlite3', count=5)
    with sqlite3.connect(file) as database:
        database.execute('UPDATE messages SET topic_id = 77 WHERE id = 2')
        database.execute("UPDATE messages SET timestamp = 'now' WHERE id = 4")
    database.close()
    with Bag(file) as bag:
        assert len(stamps(bag)) == 3
        assert '2 messages have no known topic or no time' in bag.damage
