# SPDX-License-Identifier: Apache-2.0
"""Images and PNGs of labels as cameras and annotation tools write them."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from panoptic_ros.core.labels import VOID_ID
from panoptic_training.data.files import image_size, pair_stems, read_id_map, read_rgb
from panoptic_training.data.registry import make_reader, open_reader

UPRIGHT = np.zeros((4, 6, 3), np.uint8)
UPRIGHT[0, 0] = 255


def png(path, depth, color, size, rows, more=b''):
    """A PNG composed byte by byte: rows start with the number of their filter."""

    def chunk(name, data):
        return (
            struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))
        )

    header = struct.pack('>IIBBBBB', size[1], size[0], depth, color, 0, 0, 0)
    path.write_bytes(
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', header)
        + more
        + chunk(b'IDAT', zlib.compress(rows))
        + chunk(b'IEND', b'')
    )
    return path


def turned(path, turn, upright=UPRIGHT):
    """A photo that viewers show as `upright`, stored with an orientation."""
    back = {
        3: lambda a: a[::-1, ::-1],
        6: np.rot90,
        8: lambda a: np.rot90(a, 3),
        1: lambda a: a,
        0: lambda a: a,
    }[turn]
    exif = Image.Exif()
    exif[0x112] = turn
    Image.fromarray(np.ascontiguousarray(back(upright))).save(path, exif=exif, quality=100)
    return path


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.webp', '.tif'])
@pytest.mark.parametrize('turn', [3, 6, 8])
def test_a_photo_that_viewers_turn_is_refused_or_turned(tmp_path, turn, suffix):
    upright = np.kron(UPRIGHT, np.ones((16, 16, 1), np.uint8))
    path = turned(tmp_path / f'a{suffix}', turn, upright)
    for read in (image_size, read_rgb):
        with pytest.raises(ValueError, match=rf'EXIF orientation \({turn}\).*--exif apply'):
            read(path, 'refuse')
    assert image_size(path, 'apply') == (64, 96)
    assert abs(read_rgb(path, 'apply').astype(int) - upright).mean() < 3
    if suffix == '.tif':  # Pillow knows its turned pixels only
        with pytest.raises(ValueError, match='which cannot be ignored'):
            read_rgb(path, 'ignore')
    else:
        stored = read_rgb(path, 'ignore')
        assert image_size(path, 'ignore') == stored.shape[:2]
        assert abs(stored[:16, :16].astype(int)).mean() < 3, 'the white corner is elsewhere'


@pytest.mark.parametrize('options', [{}, {'progressive': True}, {'subsampling': 0}])
@pytest.mark.parametrize('mode', ['RGB', 'L', 'CMYK'])
@pytest.mark.parametrize('share', [0.2, 0.6])
def test_a_photo_with_an_end_marker_and_too_few_data_is_refused(tmp_path, mode, options, share):
    path = tmp_path / 'a.jpg'
    noise = np.random.default_rng(0).integers(0, 256, (90, 130, 3), np.uint8)
    Image.fromarray(noise).convert(mode).save(path, **options)
    data = path.read_bytes()
    assert read_rgb(path).shape == (90, 130, 3)
    path.write_bytes(data[: int(share * len(data))] + b'\xff\xd9')
    with pytest.raises(ValueError, match=r'a\.jpg cannot be decoded: .*cut short'):
        read_rgb(path)
    path.write_bytes(data + bytes(500))  # padding changes nothing
    assert read_rgb(path).shape == (90, 130, 3)


def test_a_photo_that_ends_in_grey_is_whole(tmp_path):
    grey = np.full((48, 64, 3), 128, np.uint8)
    Image.fromarray(grey).save(tmp_path / 'a.jpg')
    assert (read_rgb(tmp_path / 'a.jpg') == 128).all()


@pytest.mark.parametrize('turn', [0, 1])
def test_no_turn_is_no_turn(tmp_path, turn):
    np.testing.assert_array_equal(read_rgb(turned(tmp_path / 'a.png', turn)), UPRIGHT)


def test_broken_exif_data_is_ignored(tmp_path):
    Image.fromarray(UPRIGHT).save(tmp_path / 'a.png', exif=b'Exif\0\0II*\0\xff\xff\xff\xff')
    np.testing.assert_array_equal(read_rgb(tmp_path / 'a.png'), UPRIGHT)


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_of_16_bits_the_high_byte_counts(tmp_path, suffix):
    ramp = np.tile(np.linspace(0, 65535, 96), (8, 1)).astype(np.uint16)
    path = tmp_path / f'a{suffix}'
    assert cv2.imwrite(str(path), ramp)
    np.testing.assert_array_equal(read_rgb(path), np.dstack([ramp >> 8] * 3))
    assert cv2.imwrite(str(path), np.dstack([ramp] * 3))
    np.testing.assert_array_equal(read_rgb(path), np.dstack([ramp >> 8] * 3))


@pytest.mark.parametrize(
    'value',
    [
        np.tile(np.arange(1000, 3000), (2, 1)).astype(np.uint16),
        np.tile(np.linspace(0, 1, 9), (2, 1)).astype(np.float32),
    ],
)
def test_greys_that_8_bits_do_not_tell_apart_are_refused(tmp_path, value):
    assert cv2.imwrite(str(tmp_path / 'a.tif'), value)
    with pytest.raises(ValueError, match=r'a\.tif has .*greys'):
        read_rgb(tmp_path / 'a.tif')


@pytest.mark.parametrize(
    ('depth', 'color', 'rows', 'ids'),
    [
        (1, 0, b'\0\xa0', [1, 0, 1]),
        (2, 0, b'\0\x6c', [1, 2, 3]),
        (4, 0, b'\0\x1f\x20', [1, 15, 2]),
        (8, 0, b'\0\1\2\xff', [1, 2, 255]),
        (16, 0, b'\0\0\1\1\0\xff\xff', [1, 256, 65535]),
        (4, 3, b'\0\x1f\x20', [1, 15, 2]),
        (8, 2, b'\0' + bytes([1, 0, 0, 0, 1, 0, 0, 0, 1]), [1, 256, 65536]),
        (8, 6, b'\0' + bytes([1, 0, 0, 9, 0, 1, 0, 0, 0, 0, 1, 255]), [1, 256, 65536]),
    ],
)
def test_ids_of_every_kind_of_png_are_the_values_stored(tmp_path, depth, color, rows, ids):
    palette = b''
    if color == 3:
        data = b'PLTE' + bytes(48)
        palette = struct.pack('>I', 48) + data + struct.pack('>I', zlib.crc32(data))
    path = png(tmp_path / 'a.png', depth, color, (1, 3), rows, palette)
    assert read_id_map(path).tolist() == [ids]


@pytest.mark.parametrize(('depth', 'color', 'count'), [(16, 2, 6), (16, 4, 4), (8, 4, 2)])
def test_pngs_that_do_not_hold_ids_are_refused(tmp_path, depth, color, count):
    path = png(tmp_path / 'a.png', depth, color, (1, 1), b'\0' + b'\1' * count)
    with pytest.raises(ValueError, match=r'a\.png is not a PNG of ids'):
        read_id_map(path)


def test_a_jpeg_holds_no_ids(tmp_path):
    Image.fromarray(UPRIGHT).save(tmp_path / 'a.png', 'jpeg')
    with pytest.raises(ValueError, match='it is JPEG of the kind RGB'):
        read_id_map(tmp_path / 'a.png')


@pytest.mark.parametrize(
    ('side', 'message'),
    [
        (10_000, r'a\.png has 10000 x 10000 pixels, expected 89478485 at most'),
        (30_000, r'a\.png cannot be decoded: .*900000000 pixels'),  # as Pillow has it
    ],
)
def test_a_small_file_that_claims_many_pixels_is_refused(tmp_path, side, message):
    path = png(tmp_path / 'a.png', 8, 2, (side, side), b'')
    for read in (image_size, read_rgb, read_id_map):
        with pytest.raises(ValueError, match=message):
            read(path)


@pytest.mark.parametrize(
    'data',
    [
        b'',
        b'\x89PNG',
        b'\xff\xd8\xff',
        b'II*\0' + b'\xff' * 30,
        b'BM' + b'\xff' * 60,
        b'RIFF....WEBPVP8 ',
    ],
)
def test_what_is_no_image_is_told_in_one_line(tmp_path, data):
    (tmp_path / 'a.png').write_bytes(data)
    for read in (image_size, read_rgb, read_id_map):
        with pytest.raises(ValueError, match=r'a\.png (is not an image|cannot be decoded)'):
            read(tmp_path / 'a.png')


def own(folder, images=('A.JPG',), labels=('A.PNG',)):
    (folder / 'classes.yaml').write_text(
        'ignore: [255]\r\nclasses:\r\n'
        '- {id: 0, name: road, kind: stuff}\r\n'
        '- {id: 1, name: car, kind: thing}\r\n'
    )
    for split in ('train', 'val'):
        for kind, names in (('images', images), ('labels', labels)):
            for name in names:
                path = folder / kind / split / name
                path.parent.mkdir(parents=True, exist_ok=True)
                value = np.zeros((4, 6), np.uint16)
                value[0], value[1], value[2] = 255, 1001, 1000
                with path.open('wb') as file:
                    Image.fromarray(value if kind == 'labels' else UPRIGHT).save(
                        file, 'png' if kind == 'labels' else 'jpeg'
                    )
    return f'folder:{folder}'


def test_endings_in_capitals_and_ids_without_label(tmp_path):
    sample = open_reader(own(tmp_path), 'train').read(0, 0)
    assert sample.class_map[:, 0].tolist() == [VOID_ID, 1, 1, 0]
    assert sample.instance_map[:, 0].tolist() == [0, 1, 0, 0]


def test_images_in_folders_within(tmp_path):
    names = ('town/1.jpg', 'town/day/1.jpg', '2.jpeg')
    data = own(tmp_path, names, ('town/1.png', 'town/day/1.png', '2.png'))
    (tmp_path / 'images/train/town/._1.jpg').write_bytes(b'what macOS leaves behind')
    reader = open_reader(data, 'train')
    assert reader.image_ids == ['2', 'town/1', 'town/day/1']
    assert reader.read(2, 0).image.shape == (4, 6, 3)


def test_labels_in_the_folder_of_the_images_are_no_images(tmp_path):
    own(tmp_path)
    (tmp_path / 'images/train/A.JPG').rename(tmp_path / 'A.jpg')
    (tmp_path / 'images/val/A.JPG').unlink()
    [pair] = pair_stems(tmp_path, tmp_path / 'labels/train', tmp_path / 'labels/val')
    assert (pair.image.name, pair.labels.name) == ('A.jpg', 'A.PNG') or (
        pair.image.name == 'A.jpg' and pair.labels.name == 'A.png'
    )


@pytest.mark.parametrize(
    ('images', 'labels'), [(('a.jpg', 'a.PNG'), ('a.png',)), (('a.jpg',), ('a.png', 'a.PNG'))]
)
def test_two_files_for_one_name_are_refused(tmp_path, images, labels):
    with pytest.raises(ValueError, match='differ in the suffix alone'):
        make_reader(own(tmp_path, images, labels), 'train')
