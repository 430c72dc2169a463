# SPDX-License-Identifier: Apache-2.0
"""Complete, truncated and damaged JPEGs."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from panoptic_ros.images.jpeg import MAX_SCANS, read_jpeg
from panoptic_ros.images.messages import read_compressed_image

HEIGHT, WIDTH = 235, 317
END = b'\xff\xd9'


def picture(height: int = HEIGHT, width: int = WIDTH, channels: int = 3) -> np.ndarray:
    rough = np.random.default_rng(3).integers(0, 255, (9, 12, channels), np.uint8)
    return cv2.resize(rough, (width, height))


def encode(pixels: np.ndarray, *flags: int) -> bytes:
    return cv2.imencode('.jpg', pixels, flags)[1].tobytes()


SAMPLINGS = {'420': 0x221111, '444': 0x111111, '411': 0x411111}
SAMPLING_FLAG = 7  # IMWRITE_JPEG_SAMPLING_FACTOR, which OpenCV 4.6 does not know
FILES = {
    **{name: encode(picture(), SAMPLING_FLAG, value) for name, value in SAMPLINGS.items()},
    'grey': encode(picture(channels=1)),
    'restarts': encode(picture(), cv2.IMWRITE_JPEG_RST_INTERVAL, 5),
    'grey restarts': encode(picture(channels=1), cv2.IMWRITE_JPEG_RST_INTERVAL, 7),
    'progressive': encode(picture(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    'one pixel over': encode(picture(241, 321)),  # little of the last blocks is seen
    'whole blocks': encode(picture(240, 320)),
}
FLAT = {grey: encode(np.full((HEIGHT, WIDTH, 3), grey, np.uint8)) for grey in (0, 127, 128, 255)}


def read(data: bytes) -> np.ndarray:
    return read_compressed_image(SimpleNamespace(format='jpeg', data=data)).pixels


@pytest.mark.parametrize('name', FILES)
def test_a_whole_jpeg_is_read(name):
    height, width = {'one pixel over': (241, 321), 'whole blocks': (240, 320)}.get(
        name, (HEIGHT, WIDTH)
    )
    jpeg = read_jpeg(FILES[name] + bytes(999))
    assert (jpeg.height, jpeg.width, jpeg.end) == (height, width, len(FILES[name]))
    assert read(FILES[name]).shape == (height, width, 3)


@pytest.mark.parametrize('grey', FLAT)  # 128 is what the decoder fills up with
def test_a_flat_picture_is_whole(grey):
    assert abs(int(read(FLAT[grey]).mean()) - grey) <= 1


@pytest.mark.parametrize('share', [0.05, 0.33, 0.5, 0.9])
@pytest.mark.parametrize('name', [name for name in FILES if name != 'progressive'])
def test_missing_data_before_the_end_marker_are_found(name, share):
    data = FILES[name]
    start = data.rfind(b'\xff\xda') + 14
    place = start + int((len(data) - start) * share)
    for rest in (
        END,
        data[place + (len(data) - place) * 2 // 3 :],
        b'\xff' + END,
        bytes(99) + END,
    ):
        with pytest.raises(ValueError, match=r'cut short|damaged'):
            read(data[:place] + rest)


def test_every_place_of_a_cut_is_found():
    """Also inside codes, and between the bytes of ff00."""
    data = FILES['420']
    for place in range(len(data) - 800, len(data) - 700):
        with pytest.raises(ValueError, match=r'cut short|damaged'):
            read(data[:place] + END)


@pytest.mark.parametrize('share', [0.1, 0.33, 0.5, 0.66])
def test_missing_scans_are_found(share):
    data = FILES['progressive']
    with pytest.raises(ValueError, match='scans are missing'):
        read(data[: int(len(data) * share)] + END)


@pytest.mark.parametrize('share', [0.75, 0.9, 0.97])
def test_a_cut_in_the_last_scan_is_found(share):
    data = FILES['progressive']
    with pytest.raises(ValueError, match='cut short'):
        read(data[: int(share * len(data))] + END)


def test_a_missing_part_of_an_earlier_scan_is_found():
    data = FILES['progressive']
    start, end = max(read_jpeg(data).scans, key=lambda scan: scan[1] - scan[0])
    length = end - start
    with pytest.raises(ValueError, match='cut short'):
        read(data[: start + length // 2] + data[end - length // 4 :])


@pytest.mark.parametrize('share', [0.3, 0.6, 0.9])
@pytest.mark.parametrize('name', ['420', '444', 'grey'])
def test_zeros_in_place_of_data_are_found(name, share):
    data = FILES[name]
    start = int(share * len(data))
    with pytest.raises(ValueError, match='cut short'):
        read(data[:start] + bytes(len(data) - start - 2) + END)
    hole = min(2000, len(data) - start - 50)
    with pytest.raises(ValueError, match='cut short'):
        read(data[:start] + bytes(hole) + data[start + hole :])


def test_zeros_that_are_no_loss_are_taken():
    padded = FILES['420'][:-2] + bytes(500) + END
    assert (read(padded) == read(FILES['420'])).all()
    flat = encode(np.full((960, 1280, 3), 200, np.uint8), cv2.IMWRITE_JPEG_OPTIMIZE, 1)
    assert bytes(64) in flat
    assert abs(int(read(flat).mean()) - 200) <= 1


def test_a_missing_part_between_restarts_is_found():
    data = FILES['restarts']
    first, second = data.find(b'\xff\xd1'), data.find(b'\xff\xd3')
    with pytest.raises(ValueError, match='restart markers'):
        read(data[:first] + data[second:])


def test_a_thumbnail_is_not_the_picture():
    small, data = encode(picture(48, 64)), FILES['420']
    segment = b'\xff\xe1' + (len(small) + 2).to_bytes(2, 'big') + small
    with_thumbnail = data[:2] + segment + data[2:]
    assert read(with_thumbnail).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(ValueError, match='cut short'):  # the thumbnail has its own end marker
        read(with_thumbnail[: len(segment) + 900])


def resized(data: bytes, height: int, width: int) -> bytes:
    place = data.find(b'\xff\xc0') + 5
    return data[:place] + height.to_bytes(2, 'big') + width.to_bytes(2, 'big') + data[place + 4 :]


@pytest.mark.parametrize(
    ('data', 'reason'),
    [
        (resized(FILES['420'], 30000, 30000), 'cannot hold 30000 x 30000 pixels'),
        (resized(FILES['420'], 9999, 9999), 'cannot hold 9999 x 9999 pixels'),  # below the limit
        (resized(FILES['420'], 0, 320), 'no size'),
        (FILES['420'].replace(b'\xff\xc0\x00\x11\x08', b'\xff\xc0\x00\x11\x0c'), '12 bits'),
        (FILES['420'][:2] + b'\xff\x37' + FILES['420'][2:], 'marker 0x37'),
        (
            FILES['progressive'][:-2]
            + b'\xff\xda\x00\x08\x01\x01\x00\x00\x00\x00' * MAX_SCANS
            + END,
            f'more than {MAX_SCANS} scans',
        ),
        (b'\xff\xd8\xff\xd9', 'holds no picture'),
        (b'\xff\xd8' + b'\xff' * 100_000, 'end marker is missing'),
    ],
)
def test_other_faults_are_told_in_one_line(data, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        read(data)
    assert '\n' not in str(caught.value)
