# SPDX-License-Identifier: Apache-2.0
"""Reader of the storage files of rosbag2's sqlite3 plugin, `.db3`.

A bag may come from an untrusted source, and an SQLite file can hold more than rows: views,
triggers, generated columns and other SQL that runs when it is read. So only plain tables are
read, and the connection denies everything else.
"""

import os
import shutil
import sqlite3
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from panoptic_ros.recordings.storage import END_NS, Channel, StorageError, StoredMessage
from panoptic_ros.recordings.unpack import MAX_BYTES

COLUMNS = {
    'topics': ('id', 'name', 'type', 'serialization_format'),
    'messages': ('id', 'topic_id', 'timestamp', 'data'),
}
"""Columns that are read, by table; all versions of rosbag2 write them."""

SUPER_JOURNAL = b'\xd9\xd5\x05\xf9\x20\xa1\x63\xd7'
"""Last bytes of a journal that names another journal, a file that SQLite may remove."""

_ROW = np.dtype([('time_ns', 'i8'), ('id', 'i8'), ('topic_id', 'i8')])
_READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_PRAGMA}


class SqliteFile:
    """A `.db3` file; of a damaged one, the readable messages."""

    def __init__(self, path: Path, folder: Path, recorded: Path | None = None) -> None:
        """Open the file, which is never written to.

        Args:
            path: the file.
            folder: place for a copy of a file that its recorder did not close.
            recorded: where the file was recorded, beside its journal or write-ahead log; `path`
                if not given.

        Raises:
            StorageError: if it is not an sqlite3 bag.
        """
        self.damage = ''
        self._path = path
        with ExitStack() as stack:
            try:
                self._database = self._open(path, folder, recorded or path)
                stack.callback(self._database.close)
                self._prepare()
                self._check_tables()
                self._channels = self._read_topics()
                self._rows = self._read_index()
            except sqlite3.Error as error:
                raise StorageError(
                    f'{path.name} cannot be read as an sqlite3 bag: {error}'
                ) from None
            stack.pop_all()
        self.damage = _cut(path, recorded or path) or self.damage
        times = self._rows['time_ns']
        self.start_ns = int(times[0]) if times.size else END_NS
        ids, counts = np.unique(self._rows['topic_id'], return_counts=True)
        found = dict(zip(ids.tolist(), counts.tolist(), strict=True))
        self._channels = {
            topic_id: channel._replace(messages=found.get(topic_id, 0))
            for topic_id, channel in self._channels.items()
        }
        self.channels: Sequence[Channel] = list(self._channels.values())

    def messages(
        self, topics: Collection[str], start_ns: int, stop_ns: int
    ) -> Iterator[StoredMessage]:
        """See `Storage`."""
        wanted = [
            topic_id for topic_id, channel in self._channels.items() if channel.topic in topics
        ]
        rows = self._rows
        rows = rows[
            np.isin(rows['topic_id'], wanted)
            & (rows['time_ns'] >= start_ns)
            & (rows['time_ns'] < stop_ns)
        ]
        for time_ns, row_id, topic_id in rows.tolist():
            try:
                (data,) = self._database.execute(
                    'SELECT data FROM messages WHERE rowid = ?', (row_id,)
                ).fetchone() or (None,)
            except sqlite3.Error as error:
                self.damage = self.damage or f'{self._path.name}: {error}'
                continue
            if isinstance(data, bytes):
                yield StoredMessage(self._channels[topic_id], time_ns, data)
            else:
                self.damage = self.damage or f'{self._path.name}: a message is not binary data'

    def close(self) -> None:
        """See `Storage`."""
        self._database.close()

    def _open(self, path: Path, folder: Path, recorded: Path) -> sqlite3.Connection:
        sides = _sides(recorded)
        options = 'mode=ro&immutable=1'
        if sides:  # SQLite completes the recorder's last changes in a copy
            path, options = _copy(path, sides, folder), 'mode=rw'
        address = f'file:{quote(os.fsencode(path.absolute()))}?{options}'
        return sqlite3.connect(address, uri=True, check_same_thread=False)

    def _prepare(self) -> None:
        """Set limits, and deny everything but reading."""
        database = self._database
        database.text_factory = lambda data: data.decode(errors='replace')
        if hasattr(database, 'setlimit'):  # Python 3.11
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_BYTES)
        # Without writable_schema SQLite refuses a truncated file; nothing is writable even so.
        for pragma in ('trusted_schema = OFF', 'writable_schema = ON', 'cell_size_check = ON'):
            database.execute(f'PRAGMA {pragma}')
        database.set_authorizer(_allow)

    def _check_tables(self) -> None:
        for table, columns in COLUMNS.items():
            kinds = [row[2] for row in self._database.execute(f'PRAGMA table_list({table})')]
            if not kinds:
                raise StorageError(f'{self._path.name} has no table {table}; it is not a bag')
            hidden = {
                row[1]: row[6] for row in self._database.execute(f'PRAGMA table_xinfo({table})')
            }
            if kinds != ['table'] or any(hidden.get(name) != 0 for name in columns):
                raise StorageError(
                    f'{self._path.name}: {table} is not a table with the plain '
                    f'columns {", ".join(columns)}, as rosbag2 makes it'
                )

    def _read_topics(self) -> dict[int, Channel]:
        rows = self._database.execute(
            'SELECT id, name, type, serialization_format FROM topics NOT INDEXED'
        )
        return {
            number: Channel(str(name), str(kind), str(encoding), 0)
            for number, name, kind, encoding in rows
            if isinstance(number, int)
        }

    def _read_index(self) -> npt.NDArray[np.void]:
        """Return time, row and topic of each readable message, by time."""
        found, skipped = array('q'), 0
        try:
            # Without the file's index, which may be damaged while the messages are intact.
            for row in self._database.execute(
                'SELECT timestamp, rowid, topic_id FROM messages NOT INDEXED'
            ):
                if row[2] in self._channels and isinstance(row[0], int):
                    found.extend(row)
                else:
                    skipped += 1
        except sqlite3.Error as error:
            self.damage = f'{self._path.name}: {error}'
        if skipped and not self.damage:
            self.damage = f'{self._path.name}: {skipped} messages have no known topic or no time'
        rows = np.frombuffer(found, _ROW)
        return rows[np.lexsort((rows['id'], rows['time_ns']))]


def _cut(path: Path, recorded: Path) -> str:
    """Return what is missing of a file that its recorder closed; empty if nothing is.

    SQLite reads missing bytes of a page as zeros.
    """
    with path.open('rb') as file:
        head = file.read(100)
    size = int.from_bytes(head[16:18], 'big')
    expected = (65536 if size == 1 else size) * int.from_bytes(head[28:32], 'big')
    is_known = head[24:28] == head[92:96] and not _sides(recorded)
    found = path.stat().st_size
    if is_known and found < expected:
        return f'{path.name}: the file is cut short: it has {found} of {expected} bytes'
    return ''


def _sides(recorded: Path) -> dict[str, Path]:
    """Return the write-ahead log and the journal beside a file, by the ending of their names."""
    return {
        ending: side
        for ending in ('-wal', '-journal')
        if (side := recorded.with_name(f'{recorded.name}{ending}')).is_file()
        and side.stat().st_size
    }


def _copy(path: Path, sides: Mapping[str, Path], folder: Path) -> Path:
    """Copy a file and the files beside it (by ending of their names) into a folder.

    Raises:
        StorageError: if a journal belongs to a change of several databases.
    """
    for side in sides.values():
        with side.open('rb') as file:
            file.seek(max(0, side.stat().st_size - len(SUPER_JOURNAL)))
            if file.read() == SUPER_JOURNAL:
                raise StorageError(
                    f'{side.name} belongs to a change of several databases, which '
                    'rosbag2 never makes; remove it to read the bag without it'
                )
    copy = folder / f'copy_{len(list(folder.iterdir()))}.db3'
    for ending, source in {'': path, **sides}.items():
        shutil.copyfile(source, copy.with_name(copy.name + ending))
    return copy


def _allow(action: int, *details: str | None) -> int:
    """Allow reads of tables; deny those of a view or trigger, which is the last detail."""
    if action in _READS and details[-1] is None:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY
