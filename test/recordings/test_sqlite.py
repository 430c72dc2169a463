# SPDX-License-Identifier: Apache-2.0
"""SQLite files from interrupted recorders and from attackers."""

import shutil
import sqlite3
from pathlib import Path

import pytest
from replay_bags import CAMERA, START_NS, STEP_NS, drive, write_bag

from panoptic_ros.recordings.bag import Bag

BLOB = "CAST(x'00010000' AS BLOB)"


@pytest.fixture
def file(tmp_path) -> Path:
    """Path of a file with ten images, outside of its folder."""
    bag = write_bag(tmp_path / 'bag', drive(10, with_gt=False), 'sqlite3')
    return next(bag.glob('*.db3')).rename(tmp_path / 'drive.db3')


def times(path: Path) -> list[int]:
    with Bag(path) as bag:
        return [
            (record.time_ns - START_NS) // STEP_NS
            for record in bag.records([CAMERA])
            if record.message is not None
        ]


def change(file: Path, *commands: str, schema: bool = False) -> None:
    """Execute SQL in a file; with `schema` it may write into sqlite_master."""
    database = sqlite3.connect(file)
    if schema:
        database.execute('PRAGMA writable_schema = ON')
    for command in commands:
        database.execute(command)
    database.commit()
    database.close()


@pytest.mark.parametrize(
    'name',
    ['a?mode=rwc.db3', 'a#b.db3', '100%41.db3', 'ü ä.db3', "it's.db3", 'a&b=c.db3', 'a"b;--.db3'],
)
def test_names_of_files_are_only_names(file, name):
    folder = file.parent / name.removesuffix('.db3')
    folder.mkdir()
    assert times(file.rename(folder / name)) == list(range(10))
    assert [path.name for path in folder.iterdir()] == [name]


@pytest.mark.parametrize(
    'definition',
    [
        "COMMIT; ATTACH '{}' AS e; CREATE TABLE e.t(a); BEGIN; CREATE TABLE aaa(x)",
        "CREATE TABLE aaa(x); ATTACH '{}' AS e",
        "ATTACH '{}' AS e",
        "CREATE TABLE aaa AS SELECT load_extension('{}')",
    ],
)
def test_sql_in_the_schema_is_not_executed(file, definition):
    victim = file.parent / 'victim.db'
    change(
        file,
        "INSERT INTO sqlite_master VALUES ('table', 'aaa', 'aaa', 2, '"
        + definition.format(victim).replace("'", "''")
        + "')",
        schema=True,
    )
    data = file.read_bytes()
    file.write_bytes(data[: len(data) * 9 // 10])  # damaged, too
    try:
        assert times(file)[:3] == [0, 1, 2]
    except ValueError as error:
        assert 'cannot be read' in str(error) and '\n' not in str(error)
    assert not victim.exists()


HANG = 'WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x'


@pytest.mark.parametrize(
    'commands',
    [
        # a view that never ends; one that fills the memory; one that hides in another's case
        [
            'ALTER TABLE messages RENAME TO m',
            f'CREATE VIEW messages AS {HANG} AS id, 1 AS topic_id, x AS timestamp, {BLOB} AS data '
            'FROM c',
        ],
        [
            'ALTER TABLE messages RENAME TO m',
            'CREATE VIEW messages AS SELECT id, topic_id, timestamp, '
            'randomblob(1000000000) AS data FROM m',
        ],
        ['ALTER TABLE topics RENAME TO t', 'CREATE VIEW TOPICS AS SELECT * FROM t'],
        # columns that are computed
        [
            'ALTER TABLE messages RENAME TO m',
            'CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INT, timestamp INT, '
            'data BLOB AS (zeroblob(900000000)))',
        ],
        # virtual tables
        [
            'DROP TABLE messages',
            'CREATE VIRTUAL TABLE messages USING fts5(topic_id, timestamp, data)',
        ],
        ['DROP TABLE messages'],
        ['DROP TABLE messages', 'CREATE TABLE messages(id INTEGER PRIMARY KEY, data BLOB)'],
    ],
)
def test_only_plain_tables_are_read(file, commands):
    change(file, *commands)
    with pytest.raises(ValueError, match=r'plain columns|no table|vtable') as got:
        Bag(file)
    assert '\n' not in str(got.value)


def test_other_objects_do_no_harm(file):
    change(
        file,
        f'CREATE VIEW endless AS {HANG} FROM c',
        'CREATE TRIGGER t AFTER INSERT ON messages BEGIN DELETE FROM messages; END',
        'CREATE INDEX odd ON messages (abs(timestamp)) WHERE topic_id > 0',
        'CREATE TABLE notes(text)',
        "INSERT INTO notes VALUES ('hello')",
    )
    before = file.read_bytes()
    assert times(file) == list(range(10))
    assert file.read_bytes() == before


def test_values_of_other_types_are_passed_over(file):
    change(
        file,
        "UPDATE messages SET data = 'text' WHERE id = 2",
        "UPDATE messages SET timestamp = 'noon' WHERE id = 3",
        'UPDATE messages SET topic_id = 77 WHERE id = 4',
        "INSERT INTO topics VALUES (5, x'ff00', 7, 8.5, '', '')",
    )
    assert times(file) == [0, *range(4, 10)]


@pytest.mark.parametrize('beside', [b'', b'trash' * 999])
@pytest.mark.parametrize('content', [b'', b'trash' * 999, b'SQLite format 3\0' + b'\xff' * 5000])
def test_other_files_are_refused_in_one_line(tmp_path, content, beside):
    (tmp_path / 'some.db3').write_bytes(content)
    (tmp_path / 'some.db3-wal').write_bytes(beside)
    (tmp_path / 'some.db3-journal').write_bytes(beside)
    with pytest.raises(ValueError, match=r'some\.db3 cannot be read as a bag') as caught:
        Bag(tmp_path / 'some.db3')
    assert '\n' not in str(caught.value)


def unfinished(file: Path, mode: str) -> Path:
    """Move half of the images to a file beside it, like a recorder that was killed."""
    killed = file.parent / 'killed'
    killed.mkdir()
    database = sqlite3.connect(file, isolation_level=None)
    if mode == 'wal':
        database.execute('PRAGMA journal_mode = WAL')
        rows = database.execute('SELECT * FROM messages WHERE id > 5').fetchall()
        database.execute('DELETE FROM messages WHERE id > 5')
        database.execute('PRAGMA wal_checkpoint(TRUNCATE)')
        database.execute('PRAGMA wal_autocheckpoint = 0')
        database.executemany('INSERT INTO messages VALUES (?, ?, ?, ?)', rows)
    else:  # a change that was never completed, but is in the file already
        database.execute('PRAGMA cache_size = 1')
        database.execute('BEGIN')
        database.execute('UPDATE messages SET data = zeroblob(length(data)), timestamp = 5')
    for path in file.parent.glob('drive.db3*'):
        shutil.copy(path, killed)
    database.close()
    return killed / file.name


@pytest.mark.parametrize('mode', ['wal', 'journal'])
@pytest.mark.parametrize('as_folder', [False, True])
def test_what_a_killed_recorder_left_is_read(file, mode, as_folder):
    left = unfinished(file, mode)
    assert left.with_name(f'drive.db3-{mode}').stat().st_size
    (left.parent / 'drive.db3-shm').unlink(missing_ok=True)
    before = {path.name: path.read_bytes() for path in left.parent.iterdir()}
    assert times(left.parent if as_folder else left) == list(range(10))
    assert {path.name: path.read_bytes() for path in left.parent.iterdir()} == before


@pytest.mark.parametrize('as_folder', [False, True])
def test_what_a_killed_recorder_left_beside_a_packed_file_is_read(file, as_folder):
    from panoptic_ros.recordings.unpack import _zstd

    path = unfinished(file, 'wal')
    packed = path.with_name(f'{path.name}.zstd')
    packed.write_bytes(_zstd().compress(path.read_bytes()))
    path.unlink()
    expected = times(file)
    assert times(packed.parent if as_folder else packed) == expected


def test_a_journal_cannot_remove_another_file(file):
    left = unfinished(file, 'journal')
    victim = file.parent / 'victim.txt'
    victim.write_text('mine')
    name = str(victim).encode()
    with left.with_name('drive.db3-journal').open('ab') as journal:
        journal.write(
            b'\0\0\0\1'
            + name
            + len(name).to_bytes(4, 'big')
            + sum(name).to_bytes(4, 'big')
            + b'\xd9\xd5\x05\xf9\x20\xa1\x63\xd7'
        )
    with pytest.raises(ValueError, match='change of several databases'):
        Bag(left)
    assert victim.read_text() == 'mine'
