# SPDX-License-Identifier: Apache-2.0
"""Readers of official layouts, each with a generated miniature, and of your own folder."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image

from panoptic_ros.core.labels import VOID_ID
from panoptic_training.data.ade20k import LABELS as ADE20K
from panoptic_training.data.files import pair_stems, read_id_map, split_ids
from panoptic_training.data.kitti_step import LABELS as KITTI
from panoptic_training.data.registry import DATASET_CLASSES, make_reader, open_reader, resolve_name
from panoptic_training.data.vistas import LABELS as VISTAS

SIZE = (6, 9)
BLUE = [0, 0, 255]


def save_image(path, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), BLUE, np.uint8)).save(path, quality=100)


def save_rgb(path, ids):
    """R + 256 G + 65536 B."""
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], 2)
    Image.fromarray(channels.astype(np.uint8)).save(path)


def save_16(path, ids):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), ids.astype(np.uint16))


def regions(*values):
    """(6, 9) with one value for each three columns of the upper rows, the first below."""
    ids = np.full(SIZE, values[0], np.int64)
    for i, value in enumerate(values):
        ids[:4, 3 * i : 3 * i + 3] = value
    return ids


def assert_sample(sample, classes, instances):
    np.testing.assert_array_equal(sample.class_map, regions(*classes))
    np.testing.assert_array_equal(sample.instance_map, regions(*instances))
    assert abs(sample.image.astype(int) - BLUE).max() <= 3  # JPEG


@pytest.mark.parametrize('labels', ['instances', 'v1.2/instances'])
def test_vistas(tmp_path, labels):
    car, sky = VISTAS.names.index('car'), VISTAS.names.index('sky')
    for split in ('training', 'validation'):
        save_image(tmp_path / split / 'images/a.jpg')
        save_16(tmp_path / split / labels / 'a.png', regions(256 * sky, 256 * car, 256 * car + 1))
    reader = open_reader(f'vistas:{tmp_path}', 'val')
    # Numbers of instances begin at 0 in each class.
    assert_sample(reader.read(0, 0), (sky, car, car), (0, 1, 2))
    assert (len(VISTAS), int(VISTAS.is_thing.sum())) == (65, 37)
    assert VISTAS.labels[55].name == 'car' and VISTAS.labels[13].name == 'road'
    save_16(tmp_path / 'training' / labels / 'a.png', regions(256 * 65, 256 * 7, 256 * 32 + 255))
    assert_sample(
        open_reader(f'vistas:{tmp_path}', 'train').read(0, 0), (VOID_ID, 7, 32), (0, 0, 1)
    )
    save_16(tmp_path / 'training' / labels / 'a.png', regions(0, 256 * 66, 0))
    with pytest.raises(ValueError, match=r'a\.png: classes must lie in 0 to 65 \(v1\.2\), got 66'):
        open_reader(f'vistas:{tmp_path}', 'train').read(0, 0)


def ade20k(folder):
    bed, wall, floor = 7, 0, 3
    categories = [
        {
            'id': i,
            'name': f'{label.name} ',
            'isthing': int(label.is_thing),
            'color': list(label.color),
        }
        for i, label in enumerate(ADE20K.labels)
    ]
    for split, name in (('train', 'training'), ('val', 'validation')):
        stem = f'ADE_{split}_00000001'
        save_image(folder / 'images' / name / f'{stem}.jpg')
        save_rgb(folder / f'ade20k_panoptic_{split}' / f'{stem}.png', regions(5, 66000, 300))
        (folder / f'ade20k_panoptic_{split}.json').write_text(
            json.dumps(
                {
                    'images': [{'id': stem, 'file_name': f'{stem}.jpg', 'width': 9, 'height': 6}],
                    'categories': categories,
                    'annotations': [
                        {
                            'image_id': stem,
                            'file_name': f'{stem}.png',
                            'segments_info': [
                                {'id': i, 'category_id': c, 'iscrowd': 0}
                                for i, c in ((5, wall), (66000, bed), (300, floor))
                            ],
                        }
                    ],
                }
            )
        )
    return folder


def test_ade20k(tmp_path):
    reader = open_reader(f'ade20k:{ade20k(tmp_path)}', 'train')
    assert reader.labels is ADE20K and (len(ADE20K), int(ADE20K.is_thing.sum())) == (150, 100)
    assert_sample(reader.read(0, 0), (0, 7, 3), (0, 1, 0))


def vps(folder, split='val'):
    """Two videos of two and one labelled frames, which the JSON lists in random order."""
    files = [
        '0002_0001_lindau_000001_000019_newImg8bit.png',
        '0001_0004_frankfurt_000000_001751_leftImg8bit.png',
        '0001_0003_frankfurt_000000_001746_newImg8bit.png',
    ]
    images, annotations = [], []
    for n, name in enumerate(files):
        mask = name.replace('newImg8bit', 'final_mask').replace('leftImg8bit', 'gtFine_color')
        image_id = mask.rsplit('_', 2)[0]
        save_image(folder / split / 'img' / name)
        segments = [(9_000_007, 0, 0), (16_000_000, 13, 0), (42 + n, 13, n == 0)]
        save_rgb(folder / split / 'panoptic_video' / mask, regions(*(s[0] for s in segments)))
        images.append({'id': image_id, 'file_name': name})
        annotations.append(
            {
                'image_id': image_id,
                'file_name': mask,
                'segments_info': [
                    {'id': i, 'category_id': c, 'iscrowd': int(crowd)} for i, c, crowd in segments
                ],
            }
        )
    (folder / f'panoptic_gt_{split}_city_vps.json').write_text(
        json.dumps(
            {
                'images': images,
                'annotations': annotations,
                'categories': [
                    {'id': 0, 'name': 'road', 'isthing': 0, 'color': [1, 2, 3]},
                    {'id': 13, 'name': 'car', 'isthing': 1, 'color': [4, 5, 6]},
                ],
            }
        )
    )
    return folder


def test_cityscapes_vps_has_clips_and_lasting_ids(tmp_path):
    reader = open_reader(f'cityscapes_vps:{vps(tmp_path)}', 'val')
    assert reader.clips == ((0, 1), (2,))
    first, second, other = (reader.read(i, 0) for i in range(3))
    assert 'frankfurt_000000_001746' in reader.pairs[0].image.name
    for sample in (first, second, other):
        assert np.unique(sample.class_map).tolist() == [0, 1]
        assert sample.instance_map.max() < 2**23 and sample.instance_map[0, 0] == 0
    assert first.instance_map[0, 3] == second.instance_map[0, 3] > 0
    assert first.instance_map[0, 6] != second.instance_map[0, 6] > 0
    assert other.instance_map[0, 6] == 0, 'a crowd has no id'


def kitti(folder, images='training/image_02', labels='panoptic_maps'):
    for split, sequence in (('train', '0000'), ('val', '0002'), ('val', '0006')):
        for frame in range(3):
            name = f'{sequence}/{frame:06d}.png'
            save_image(folder / images.format(split=split) / name)
            # road; car 300 (and car 1 later); person 300; R is the class.
            save_rgb(
                folder / labels / split / name,
                regions(
                    0,
                    13 | 1 << 8 | 44 << 16 if frame < 2 else 13 | 0 << 8 | 1 << 16,
                    11 | 1 << 8 | 44 << 16,
                ),
            )
    return folder


@pytest.mark.parametrize(
    ('images', 'labels'),
    [
        ('training/image_02', 'panoptic_maps'),
        ('training/image_02', 'kitti-step/panoptic_maps'),
        ('images/{split}', 'panoptic_maps'),
    ],
)
def test_kitti_step_has_clips_and_tracks(tmp_path, images, labels):
    reader = open_reader(f'kitti_step:{kitti(tmp_path, images, labels)}', 'val')
    assert reader.clips == ((0, 1, 2), (3, 4, 5))
    frames = [reader.read(i, 0) for i in range(3)]
    for frame in frames:
        np.testing.assert_array_equal(frame.class_map, regions(0, 13, 11))
    car, person = frames[0].instance_map[0, 3], frames[0].instance_map[0, 6]
    assert 0 < car != person > 0, 'the same number in two classes is two tracks'
    assert frames[1].instance_map[0, 3] == car and frames[2].instance_map[0, 3] not in (car, 0)
    assert all(frame.instance_map[0, 6] == person for frame in frames)
    assert [label.name for label in KITTI.labels if label.is_thing] == ['person', 'car']


def test_kitti_step_void_crowds_and_bad_classes(tmp_path):
    kitti(tmp_path)
    path = tmp_path / 'panoptic_maps/train/0000/000000.png'
    save_rgb(path, regions(255, 13, 12 | 1 << 16))  # cars that nobody tracks; a rider is stuff
    sample = open_reader(f'kitti_step:{tmp_path}', 'train').read(0, 0)
    assert_sample(sample, (VOID_ID, 13, 12), (0, 0, 0))
    save_rgb(path, regions(0, 19, 20))
    with pytest.raises(ValueError, match=r'classes \(R\) must lie in 0 to 18 or be 255, got 19'):
        open_reader(f'kitti_step:{tmp_path}', 'train').read(0, 0)


CLASSES = """
classes:
  - {id: 1, name: road, kind: stuff, color: [128, 64, 128]}
  - {id: 2, name: car, kind: thing}
  - {id: 7, name: dog, kind: thing}
"""


@pytest.fixture
def own(tmp_path):
    (tmp_path / 'classes.yaml').write_text(CLASSES)
    for split in ('train', 'val'):
        for stem in ('a', 'b', 'c'):
            save_image(tmp_path / f'images/{split}/{stem}.jpg')
            save_16(tmp_path / f'labels/{split}/{stem}.png', regions(1000, 2001, 7001))
    return tmp_path


def test_own_folder(own):
    reader = open_reader(f'folder:{own}', 'train')
    assert reader.labels.names == ('road', 'car', 'dog') and reader.clips == ()
    assert len({label.color for label in reader.labels.labels}) == 3
    assert_sample(reader.read(1, 0), (0, 1, 2), (0, 1, 2))
    save_16(own / 'labels/train/b.png', regions(0, 2000, 2123))
    assert_sample(reader.read(1, 0), (VOID_ID, 1, 1), (0, 0, 1))
    save_rgb(own / 'labels/train/b.png', regions(1000, 2001, 7999))
    assert_sample(reader.read(1, 0), (0, 1, 2), (0, 1, 2))
    (own / 'classes.yaml').write_text('divisor: 10' + CLASSES)
    Image.fromarray(regions(10, 21, 71).astype(np.uint8)).save(own / 'labels/train/b.png')
    assert_sample(open_reader(f'folder:{own}', 'train').read(1, 0), (0, 1, 2), (0, 1, 2))


@pytest.mark.parametrize(
    ('ids', 'message'),
    [
        (
            regions(1000, 3001, 5),
            r'a\.png: id 5 \(class 0, instance 5\) is of no class in classes',
        ),
        (regions(1000, 1001, 2001), "id 1001 is an instance of 'road', which is stuff"),
    ],
)
def test_ids_that_mean_nothing_are_named(own, ids, message):
    save_16(own / 'labels/train/a.png', ids)
    with pytest.raises(ValueError, match=message):
        open_reader(f'folder:{own}', 'train').read(0, 0)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('classes: []', 'needs a list `classes`'),
        ('[', 'is not YAML'),
        ('road', 'needs a list'),
        ('classes: [{id: 1, name: a}]', 'a class needs id, name and kind'),
        (
            'classes: [{id: -1, name: a, kind: stuff}]',
            "class 'a': id must be a whole number from 0",
        ),
        ('classes: [{id: 1, name: yes, kind: stuff}]', 'name of a class must be a text, got True'),
        (
            'ignore: [x]\nclasses: [{id: 1, name: a, kind: stuff}]',
            'ignore must list values of pixels',
        ),
        ('ignore: 1\nclasses: [{id: 1, name: a, kind: stuff}]', '1 is listed under `ignore`'),
        ('ignore: 0\nclasses: [{id: 0, name: a, kind: stuff}]', '0 is listed under `ignore`'),
        ('classes: [{id: 1, name: a, kind: stuff, color: [.inf, 0, 0]}]', 'color must be'),
        ('classes: [{id: 1, name: a, kind: things}]', "kind must be thing or stuff, got 'things'"),
        ('classes: [{id: 1, name: a, kind: stuff, color: red}]', 'color must be'),
        (
            'classes: [{id: 1, name: a, kind: stuff}, {id: 1, name: b, kind: stuff}]',
            'each category_id',
        ),
        ('divisor: 0\nclasses: [{id: 1, name: a, kind: stuff}]', 'divisor must be a whole number'),
        (
            f'divisor: {2**80}\nclasses: [{{id: 1, name: a, kind: stuff}}]',
            'divisor must be a whole',
        ),
        (f'classes: [{{id: {2**80}, name: a, kind: stuff}}]', 'id must be a whole number from 0'),
        ('devisor: 9\nclasses: [{id: 1, name: a, kind: stuff}]', "unknown key 'devisor'"),
    ],
)
def test_mistakes_in_classes_yaml_are_one_line(own, text, message):
    (own / 'classes.yaml').write_text(text)
    with pytest.raises(ValueError, match=message):
        open_reader(f'folder:{own}', 'train')


def test_what_is_bad_is_found_at_opening_or_left_out(own, caplog):
    (own / 'labels/train/a.png').unlink()
    save_image(own / 'images/train/b.jpg', (6, 8))
    with pytest.raises(
        ValueError,
        match=r'2 of 3 samples are bad, .*a\.png does not exist; '
        r'`panoptic data check folder:.*` lists all',
    ):
        open_reader(f'folder:{own}', 'train')
    reader = open_reader(f'folder:{own}', 'train', 'skip')
    assert '2 of 3 samples are bad and left out: a.jpg, b.jpg' in caplog.text
    assert len(reader) == 1 and reader.order(np.random.default_rng(0)).tolist() == [0]
    assert_sample(reader.read(0, 0), (0, 1, 2), (0, 1, 2))
    with pytest.raises(ValueError, match="on_error must be fail or skip, got 'ignore'"):
        open_reader(f'folder:{own}', 'train', 'ignore')


def cut(path):
    path.write_bytes(path.read_bytes()[:-30])


@pytest.mark.parametrize('name', ['images/train/b.jpg', 'labels/train/b.png'])
def test_a_file_cut_off_is_replaced_by_the_next_and_counted(own, caplog, name):
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    Image.fromarray(noise).save(own / 'images/train/b.jpg', quality=100)
    cut(own / name)
    with pytest.raises(ValueError, match=r'b\.\w+ cannot be decoded'):
        open_reader(f'folder:{own}', 'train').read(1, 0)
    reader = open_reader(f'folder:{own}', 'train', 'skip')
    save_16(own / 'labels/train/c.png', regions(7000, 7000, 7000))
    assert reader.summary() == ''
    for _ in range(2):
        assert (reader.read(1, 0).class_map == 2).all(), 'image c'
    assert reader.summary() == '1 of 3 samples were left out: b.jpg'
    assert len([r for r in caplog.records if 'the next image is taken' in r.message]) == 1
    for other in ('a', 'c'):
        cut(own / f'images/train/{other}.jpg')
    with pytest.raises(ValueError, match='none of 3 samples can be read'):
        reader.read(0, 0)


def test_skipping_keeps_clips(tmp_path):
    kitti(tmp_path)
    (tmp_path / 'training/image_02/0002/000001.png').unlink()
    assert open_reader(f'kitti_step:{tmp_path}', 'val', 'skip').clips == ((0, 1), (2, 3, 4))


def test_the_city_as_video():
    reader = open_reader(
        'synthetic', 'val', size=(64, 128), length=5, frames_per_clip=3, video=True
    )
    assert reader.clips == ((0, 1, 2), (3, 4))
    one, two = (reader.read(i, 0) for i in (1, 2))
    shared = set(np.unique(one.instance_map)) & set(np.unique(two.instance_map)) - {0}
    assert shared and (one.class_map == two.class_map).mean() > 0.8
    assert open_reader('synthetic', 'val', length=5).clips == ()


def test_images_that_differ_in_the_suffix_alone_are_refused(tmp_path):
    for name in ('a.jpg', 'a.png'):
        save_image(tmp_path / 'images' / name)
    with pytest.raises(ValueError, match='differ in the suffix alone'):
        pair_stems(tmp_path / 'images', tmp_path / 'labels')


@pytest.mark.parametrize('top', [3, 1 << 22])  # by table and by search
def test_splitting_ids_is_looking_each_up(top):
    rng = np.random.default_rng(0)
    ids = rng.choice(rng.integers(0, top + 1, 7), (5, 8)).astype(np.int32)
    class_map, instance_map = split_ids(ids, lambda found: (found % 200, found // 2))
    np.testing.assert_array_equal(class_map, ids % 200)
    np.testing.assert_array_equal(instance_map, ids // 2)


def test_pngs_of_ids(tmp_path):
    ids = regions(0, 5, 200)
    palette = Image.fromarray(ids.astype(np.uint8))
    palette.putpalette(list(range(255, -1, -1)) * 3)
    palette.save(tmp_path / 'palette.png')
    save_16(tmp_path / 'grey.png', ids * 300)
    save_rgb(tmp_path / 'rgb.png', ids * 80_000)
    np.testing.assert_array_equal(read_id_map(tmp_path / 'palette.png'), ids)
    np.testing.assert_array_equal(read_id_map(tmp_path / 'grey.png'), ids * 300)
    np.testing.assert_array_equal(read_id_map(tmp_path / 'rgb.png'), ids * 80_000)
    Image.fromarray(ids > 3).save(tmp_path / 'bits.png')
    np.testing.assert_array_equal(read_id_map(tmp_path / 'bits.png'), ids > 3)


def test_a_folder_tells_what_it_is(tmp_path, own):
    assert resolve_name(str(own)) == f'folder:{own}'
    for kind, make in (('kitti_step', kitti), ('cityscapes_vps', vps), ('ade20k', ade20k)):
        folder = make(tmp_path / kind)
        assert resolve_name(str(folder)) == f'{kind}:{folder}'
    assert resolve_name('synthetic') == 'synthetic'
    assert resolve_name(f'coco:{tmp_path}') == f'coco:{tmp_path}'
    with pytest.raises(FileNotFoundError, match="no folder of data 'coco' at nowhere"):
        resolve_name('coco:nowhere')
    (tmp_path / 'none').mkdir()
    with pytest.raises(ValueError, match='has the layout of no known data set'):
        resolve_name(str(tmp_path / 'none'))


@pytest.mark.parametrize('kind', [d.name for d in DATASET_CLASSES if d.marks and d.splits])
def test_an_unknown_split_is_named(tmp_path, kind):
    with pytest.raises(ValueError, match=r"has the splits .*, got 'all'"):
        make_reader(f'{kind}:{tmp_path}', 'all')
