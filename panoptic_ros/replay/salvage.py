"""What can still be read of damaged bag files: copies that end where the damage starts."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import yaml

STORAGES = ('.mcap', '.db3')

MCAP_MAGIC = b'\x89MCAP0\r\n'
FOOTER, CHUNK, DATA_END = 0x02, 0x06, 0x0F

ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'

COPY_BYTES = 1 << 20


def rescue(path: Path, folder: Path) -> list[Path]:
    """Copies what is whole of a bag.

    Args:
        path: a bag's folder, with or without metadata, or one storage file.
        folder: where the copies go.

    Returns:
        Storage files that can be opened, in the bag's order.

    Raises:
        ValueError: if nothing can be read.
    """
    files = _storage_files(path)
    if not files:
        raise ValueError(f'{path} holds no file of type {", ".join(STORAGES)}')
    copies = []
    for place, file in enumerate(files):
        source = file
        if file.suffix == '.zstd':
            source = folder / f'unpacked_{place}{Path(file.stem).suffix}'
            _unpack(file, source)
        copy = folder / f'{place:05d}{source.suffix}'
        if source.suffix == '.mcap':
            whole = _copy_mcap(source, copy)
        else:
            whole = _copy_sqlite(source, copy)
        if source is not file:
            source.unlink()
        if whole:
            copies.append(copy)
    if not copies:
        raise ValueError('no message is whole')
    return copies


def _storage_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = sorted(file for ending in STORAGES
                   for file in (*path.glob(f'*{ending}'), *path.glob(f'*{ending}.zstd')))
    try:  # `bag_10` comes after `bag_9` there
        document = yaml.safe_load((path / 'metadata.yaml').read_text(encoding='utf-8'))
        order = [Path(name).name for name in
                 document['rosbag2_bagfile_information']['relative_file_paths']]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return sorted(found, key=lambda file: (len(file.name), file.name))
    return sorted(found, key=lambda file: (order.index(file.name) if file.name in order
                                           else len(order)))


def _unpack(source: Path, target: Path) -> None:
    """Decompresses as far as it goes."""
    zstd = _zstd()
    with source.open('rb') as packed, target.open('wb') as out:
        try:
            with zstd.open(packed, 'rb') as stream:
                while block := stream.read(COPY_BYTES):
                    out.write(block)
        except (EOFError, OSError, zstd.ZstdError):
            pass


def _copy_mcap(source: Path, target: Path) -> bool:
    """Copies whole records and closes the file; False if there is no data in it."""
    with source.open('rb') as old, target.open('wb') as new:
        if old.read(len(MCAP_MAGIC)) != MCAP_MAGIC:
            return False
        new.write(MCAP_MAGIC)
        records = 0
        while (record := _next_record(old)) is not None:
            kind, content = record
            if kind in (FOOTER, DATA_END) or (kind == CHUNK and not _chunk_is_whole(content)):
                break
            new.write(struct.pack('<BQ', kind, len(content)) + content)
            records += 1
        new.write(struct.pack('<BQI', DATA_END, 4, 0))
        new.write(struct.pack('<BQQQI', FOOTER, 20, 0, 0, 0) + MCAP_MAGIC)
    return records > 1  # the first is the header


def _next_record(file: BinaryIO) -> tuple[int, bytes] | None:
    head = file.read(9)
    if len(head) < 9:
        return None
    kind, size = struct.unpack('<BQ', head)
    here = file.tell()
    end = file.seek(0, io.SEEK_END)
    file.seek(here)
    if kind == 0 or size > end - here:
        return None
    return kind, file.read(size)


def _chunk_is_whole(content: bytes) -> bool:
    try:
        _, _, size, checksum, length = struct.unpack_from('<QQQII', content)
        compression = content[32:32 + length].decode()
        data = content[40 + length:]
        if compression == 'zstd':
            data = _zstd().decompress(data)
        elif compression == 'lz4':
            from lz4.frame import decompress

            data = decompress(data)
        return len(data) == size and (not checksum or zlib.crc32(data) == checksum)
    except Exception:  # each decompressor has its own kinds
        return False


def _copy_sqlite(source: Path, target: Path) -> bool:
    """Copies rows in the order they were written, until one cannot be read."""
    import apsw

    old = apsw.Connection(f'file:{source}?immutable=1',
                          flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    new = apsw.Connection(str(target))
    rows = 0
    new.execute('BEGIN')
    try:
        old.execute('PRAGMA writable_schema = ON')  # else a file that is cut short is refused
        tables = old.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' "
                             "AND name NOT LIKE 'sqlite_%'").fetchall()
        for name, command in sorted(tables, key=lambda table: table[0] == 'messages'):
            new.execute(command)
            quoted = '"' + name.replace('"', '""') + '"'
            for row in old.execute(f'SELECT * FROM {quoted} ORDER BY rowid'):
                new.execute(f'INSERT INTO {quoted} VALUES ({", ".join("?" * len(row))})', row)
                rows += name == 'messages'
    except apsw.Error:
        pass  # here the damage starts
    new.execute('COMMIT')
    old.close()
    new.close()
    return rows > 0


def unpack_message(data: bytes) -> bytes:
    """A message of a bag that compresses each one, which its files do not say of themselves."""
    return _zstd().decompress(data) if data[:4] == ZSTD_MAGIC else data


def _zstd() -> Any:
    """What rosbags itself decompresses with."""
    try:
        from compression import zstd  # type: ignore[import-not-found]  # Python 3.14
    except ImportError:
        from backports import zstd
    return zstd
