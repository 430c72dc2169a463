"""What can still be read of damaged bag files: copies that end where the damage starts."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import yaml

STORAGES = ('.mcap', '.db3')

MCAP_MAGIC = b'\x89MCAP0\r\n'
HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, DATA_END = 1, 2, 3, 4, 5, 6, 15
LAST_OPCODE = DATA_END

MAX_RECORD_BYTES = 1 << 32

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
    with source.open('rb') as packed, target.open('wb') as out:
        unpacker = _zstd().ZstdDecompressor()
        with suppress(_zstd().ZstdError, EOFError):
            while block := packed.read(COPY_BYTES):
                out.write(unpacker.decompress(block))


def _copy_mcap(source: Path, target: Path) -> bool:
    """Copies whole messages, and what names them, without chunks and index.

    Returns:
        False if there is no message.
    """
    messages = 0
    with source.open('rb') as old, target.open('wb') as new:
        if old.read(len(MCAP_MAGIC)) != MCAP_MAGIC:
            return False
        new.write(MCAP_MAGIC)
        for kind, content in _records(old):
            inner = [(kind, content)]
            if kind == CHUNK:
                data, is_whole = _unpack_chunk(content)
                inner = list(_records(io.BytesIO(data)))
            for inner_kind, inner_content in inner:
                if inner_kind in (HEADER, SCHEMA, CHANNEL, MESSAGE):
                    new.write(struct.pack('<BQ', inner_kind, len(inner_content)) + inner_content)
                    messages += inner_kind == MESSAGE
            if kind in (FOOTER, DATA_END) or (kind == CHUNK and not is_whole):
                break
        new.write(struct.pack('<BQI', DATA_END, 4, 0))
        new.write(struct.pack('<BQQQI', FOOTER, 20, 0, 0, 0) + MCAP_MAGIC)
    return messages > 0


def _records(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Opcode and content of each record; of a chunk that is cut short, what there is."""
    while len(head := file.read(9)) == 9:
        kind, size = struct.unpack('<BQ', head)
        if not 0 < kind <= LAST_OPCODE or size > MAX_RECORD_BYTES:
            return
        content = file.read(size)
        if len(content) == size or kind == CHUNK:
            yield kind, content
        if len(content) < size:
            return


def _unpack_chunk(content: bytes) -> tuple[bytes, bool]:
    """The records in a chunk, and whether they are all there; none if some are not right."""
    if len(content) < 40:
        return b'', False
    _, _, size, checksum, length = struct.unpack_from('<QQQII', content)
    compression = content[32:32 + length]
    data = content[40 + length:]
    try:
        if compression == b'zstd':
            data = _zstd().ZstdDecompressor().decompress(data)
        elif compression == b'lz4':
            from lz4.frame import LZ4FrameDecompressor

            data = LZ4FrameDecompressor().decompress(data)
    except (RuntimeError, EOFError, _zstd().ZstdError):
        return b'', False
    if len(data) != size:
        return data, False
    if checksum and zlib.crc32(data) != checksum:
        return b'', False
    return data, sum(9 + len(record) for _, record in _records(io.BytesIO(data))) == size


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
        for name, command in sorted(((str(name), str(command)) for name, command in tables),
                                    key=lambda table: table[0] == 'messages'):
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
