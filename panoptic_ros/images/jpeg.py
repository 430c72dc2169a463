# SPDX-License-Identifier: Apache-2.0
"""Structure of a JPEG file: its end, and a check that its data are complete.

libjpeg, the decoder inside OpenCV, fills an image whose data end early with grey (128, 128, 128)
and decodes zeros as data. OpenCV drops its warnings, so segments and scans are checked here. If
that is not conclusive, the image is decoded again from altered data and compared.
"""

import re
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

_SOI, _EOI, _SOS, _DRI, _DNL = 0xD8, 0xD9, 0xDA, 0xDD, 0xDC
_RESTARTS = range(0xD0, 0xD8)
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xCA}
_SEQUENTIAL = {0xC0, 0xC1}
_END = b'\xff\xd9'
_FIRST_KNOWN = 0xC0  # lower markers have no meaning

# In the data of a scan, ff00 is the byte ff; ffd0 to ffd7 are restart markers, if it has any.
_NEXT_MARKER = re.compile(rb'\xff[^\x00\xff]')
_NEXT_BUT_RESTARTS = re.compile(rb'\xff[^\x00\xff\xd0-\xd7]')
_RESTART = re.compile(rb'\xff([\xd0-\xd7])')

MAX_SCANS = 100
"""Largest number of scans; each costs a pass over the image. Progressive images have about ten."""

_OTHER_DATA = b'\0' + bytes((73 * i + 41) % 251 for i in range(256))
"""Arbitrary data; the first byte completes an ff before it."""

_TAIL_BYTES = 16
_HOLE = bytes(64)
"""Trace of lost packets. Otherwise so many zeros occur only in images of a single colour."""

_FILLED = 128
_VISIBLE_PX = 4
"""If fewer pixels of the last block are inside the image, its colour mixes with that of the block
before it; its brightness does not."""


class Jpeg(NamedTuple):
    """Structure of a JPEG file."""

    height: int
    width: int
    end: int
    """Position behind the end marker, bytes."""

    scans: tuple[tuple[int, int], ...]
    """Start and end of the data of each scan, bytes."""

    hole: int | None
    """Position of zeros in the last scan that may replace lost data; None if there are none."""

    block: tuple[int, int]
    """(height, width) of the units of coding, px."""

    is_plain: bool
    """Whether it has one sequential scan of grey or three colours, as cameras write it; missing
    blocks are then grey."""

    def is_complete(self, data: bytes, pixels: Any, decode: Callable[[bytes], Any]) -> bool:
        """Return whether the data hold the complete image.

        Args:
            data: the file.
            pixels: (H, W, 3) BGR or (H, W), the decoded image.
            decode: decoder of another file with the same flags.
        """

        def changes(other: bytes) -> bool:
            return not np.array_equal(decode(other + _END), pixels)

        if self.may_be_cut(pixels):
            # Additional data change a truncated image and no other.
            pieces, place = [], 0
            for _, end in self.scans:
                pieces += [data[place:end], _OTHER_DATA]
                place = end
            if changes(b''.join(pieces)):
                return False
        if self.hole is None:
            return True
        # Data were lost if the image changes with data in place of the zeros, but not with data
        # in place of its last bytes: the zeros were then decoded to more blocks than were lost.
        return not (
            changes(data[: self.hole] + _OTHER_DATA)
            and not changes(data[: self.scans[-1][1] - _TAIL_BYTES] + _OTHER_DATA)
        )

    def may_be_cut(self, pixels: Any) -> bool:
        """Return whether the last block may be missing.

        Args:
            pixels: (H, W, 3) BGR or (H, W), the decoded image.
        """
        if not self.is_plain:
            return True
        corner = pixels[-1, -1]
        if all(
            (size - 1) % block >= _VISIBLE_PX - 1
            for size, block in zip((self.height, self.width), self.block, strict=True)
        ):
            return bool((corner == _FILLED).all())
        weights = (0.114, 0.587, 0.299)
        grey = np.dot(weights, corner) if corner.ndim else float(corner)
        return bool(abs(grey - _FILLED) <= 2)


class _Frame(NamedTuple):
    marker: int
    height: int
    width: int
    sampling: dict[int, tuple[int, int]]
    """(vertical, horizontal) sampling factors by component."""


class _Scan(NamedTuple):
    components: tuple[int, ...]
    band: range
    """Indices of the DCT coefficients in it."""

    low_bit: int
    """Lowest bit of the coefficients that is coded so far; 0 if they are complete."""

    start: int
    end: int
    restart_interval: int


def read_jpeg(data: bytes) -> Jpeg:
    """Read the segments and scans of a JPEG file.

    Args:
        data: the file, possibly followed by padding.

    Raises:
        ValueError: if it is truncated, damaged or of a kind that is not decoded.
        struct.error, IndexError: if it ends inside a segment.
    """
    frame: _Frame | None = None
    scans: list[_Scan] = []
    interval, place = 0, 2
    while True:
        place = data.find(b'\xff', place)
        while 0 <= place < len(data) - 1 and data[place + 1] == 0xFF:
            place += 1
        if not 0 <= place < len(data) - 1:
            raise ValueError('the jpeg image is cut short: its end marker is missing')
        marker = data[place + 1]
        place += 2
        if marker == _EOI:
            break
        if marker == 0 or marker in _RESTARTS or marker in (_SOI, 1):
            continue
        if marker < _FIRST_KNOWN:
            raise ValueError(f'the jpeg image is damaged: marker {marker:#04x}')
        (length,) = struct.unpack_from('>H', data, place)
        if marker in _FRAMES:
            if frame:
                raise ValueError('the jpeg image is damaged: it has two frames')
            frame = _read_frame(marker, data, place + 2)
        elif marker == _DRI:
            (interval,) = struct.unpack_from('>H', data, place + 2)
        elif marker == _SOS:
            if not frame:
                raise ValueError('the jpeg image is damaged: its size comes after its data')
            if len(scans) == MAX_SCANS:
                raise ValueError(f'the jpeg image has more than {MAX_SCANS} scans')
            pattern = _NEXT_BUT_RESTARTS if interval else _NEXT_MARKER
            following = pattern.search(data, place + length)
            end = following.start() if following else len(data)
            scans.append(_read_scan(data, place + 2, place + length, end, interval))
            place = end
            continue
        place += length
    if not frame or not scans:
        raise ValueError('the jpeg image is damaged: it holds no picture')
    _check_scans(frame, scans)
    if len(scans) == 1 and len(scans[0].components) == len(frame.sampling):
        _check_length(data, frame, scans[0])
    rows, columns = (max(factors) for factors in zip(*frame.sampling.values(), strict=True))
    is_plain = frame.marker in _SEQUENTIAL and len(scans) == 1 and len(frame.sampling) in (1, 3)
    hole = data.find(_HOLE, scans[-1].start, scans[-1].end)
    return Jpeg(
        frame.height,
        frame.width,
        place,
        tuple((scan.start, scan.end) for scan in scans),
        None if hole < 0 else hole,
        (8 * rows, 8 * columns),
        is_plain,
    )


def _read_frame(marker: int, data: bytes, place: int) -> _Frame:
    bits, height, width, count = struct.unpack_from('>BHHB', data, place)
    if bits != 8:
        raise ValueError(f'the jpeg image has {bits} bits a colour, expected 8')
    sampling = {}
    for i in range(count):
        component, factors, _ = data[place + 6 + 3 * i : place + 9 + 3 * i]
        sampling[component] = factors & 15, factors >> 4
    if not sampling or not all(1 <= factor <= 4 for pair in sampling.values() for factor in pair):
        raise ValueError('the jpeg image is damaged: its components make no sense')
    return _Frame(marker, height, width, sampling)


def _read_scan(data: bytes, place: int, start: int, end: int, interval: int) -> _Scan:
    count = data[place]
    if not 1 <= count <= 4 or start - place != 4 + 2 * count:
        raise ValueError('the jpeg image is damaged: a scan has no components')
    components = tuple(data[place + 1 + 2 * i] for i in range(count))
    first, last, bits = data[place + 1 + 2 * count : place + 4 + 2 * count]
    return _Scan(components, range(first, last + 1), bits & 15, start, end, interval)


def _check_scans(frame: _Frame, scans: list[_Scan]) -> None:
    """Raise ValueError if the scans do not hold all coefficients of each component."""
    if frame.marker not in _PROGRESSIVE:
        coded = [component for scan in scans for component in scan.components]
        if len(set(coded)) < len(coded):
            raise ValueError('the jpeg image is damaged: it has two scans of a component')
    bands = range(64) if frame.marker in _PROGRESSIVE else range(1)
    missing = {(component, k) for component in frame.sampling for k in bands}
    for scan in scans:
        if scan.low_bit == 0 or frame.marker not in _PROGRESSIVE:
            missing -= {(component, k) for component in scan.components for k in scan.band}
    if missing:
        raise ValueError('the jpeg image is cut short: some of its scans are missing')


def _check_length(data: bytes, frame: _Frame, scan: _Scan) -> None:
    """Raise ValueError if the only scan is too short or lacks restart markers."""
    factors = list(frame.sampling.values())
    if len(factors) == 1:  # alone, a component is coded block by block
        factors = [(1, 1)]
    rows, columns = (max(pair) for pair in zip(*factors, strict=True))
    units = -(-frame.height // (8 * rows)) * -(-frame.width // (8 * columns))
    blocks = units * sum(row * column for row, column in factors)
    if frame.marker in _SEQUENTIAL and 4 * (scan.end - scan.start) < blocks:
        # A block has at least two codes of one bit each.
        raise ValueError(
            f'the jpeg image is cut short: {scan.end - scan.start} bytes cannot hold '
            f'{frame.width} x {frame.height} pixels'
        )
    if not scan.restart_interval:
        return
    expected = -(-units // scan.restart_interval) - 1
    found = [number[0] for number in _RESTART.findall(data, scan.start, scan.end)]
    in_order = all(number == 0xD0 + place % 8 for place, number in enumerate(found))
    if not in_order or len(found) not in (expected, expected + 1):  # one may stand at the end
        raise ValueError(
            f'the jpeg image is cut short or damaged: it has {len(found)} of '
            f'{expected} restart markers in their order'
        )
