# SPDX-License-Identifier: Apache-2.0
"""COCO panoptic from generated folders, and the published sample if it is available."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from panoptic_ros.core.labels import VOID_ID
from panoptic_training.data.coco_classes import LABELS
from panoptic_training.data.coco_hidden import Outlines
from panoptic_training.data.outlines import fill
from panoptic_training.data.registry import make_reader, open_reader
from panoptic_training.data.sample import HIDDEN_LAYERS

SAMPLE = Path(__file__).parents[4] / 'shared/data/coco_panoptic_sample'

CATEGORIES = [
    {'id': 3, 'name': 'car', 'isthing': 1, 'color': [0, 0, 142]},
    {'id': 149, 'name': 'road', 'isthing': 0, 'color': [128, 64, 128]},
]
BIG = 70_000  # takes all three bytes: 112 + 256 * 17 + 65536


def ids():
    """(8, 10): void, a road, two cars and a crowd of cars."""
    value = np.zeros((8, 10), np.uint32)
    value[2:] = 5
    value[3:5, 1:4] = BIG
    value[3:5, 5:8] = 300
    value[6:, 8:] = 7
    return value


def write(folder, names, segments=None, image_size=(8, 10)):
    """One image `a` in the layout given by (json, PNG folder, image folder)."""
    path, masks, images = (folder / name for name in names)
    for place in (path.parent, masks, images):
        place.mkdir(parents=True, exist_ok=True)
    value = ids()
    bgr = np.stack([value >> 16 & 255, value >> 8 & 255, value & 255], axis=2).astype(np.uint8)
    assert cv2.imwrite(str(masks / 'a.png'), bgr)
    picture = np.zeros((*image_size, 3), np.uint8)
    picture[..., 0] = 255  # blue, since files are written as BGR
    assert cv2.imwrite(str(images / 'a.png'), picture)
    segments = segments or [(5, 149, 0), (BIG, 3, 0), (300, 3, 0), (7, 3, 1)]
    path.write_text(
        json.dumps(
            {
                'categories': CATEGORIES,
                'images': [{'id': 1, 'file_name': 'a.png'}],
                'annotations': [
                    {
                        'image_id': 1,
                        'file_name': 'a.png',
                        'segments_info': [
                            {'id': i, 'category_id': c, 'iscrowd': crowd}
                            for i, c, crowd in segments
                        ],
                    }
                ],
            }
        )
    )


LAYOUTS = [
    ('annotations/panoptic_val2017.json', 'annotations/panoptic_val2017', 'val2017'),
    ('annotations/panoptic_val2017.json', 'panoptic_val2017', 'val2017'),
    ('val.json', 'panoptic_val', 'val'),
]


@pytest.mark.parametrize('names', LAYOUTS)
def test_a_sample_has_classes_instances_and_crowds(tmp_path, names):
    write(tmp_path, names)
    reader = open_reader(f'coco:{tmp_path}', 'val')
    assert len(reader) == 1
    assert reader.labels.names == ('car', 'road')
    assert reader.order(np.random.default_rng(0)).tolist() == [0]
    sample = reader.read(0, 0)
    value = ids()
    np.testing.assert_array_equal(
        sample.class_map, np.select([value == 0, value == 5], [VOID_ID, 1], 0)
    )
    assert (sample.image == [0, 0, 255]).all()
    instances = sample.instance_map
    assert not instances[(value == 0) | (value == 5) | (value == 7)].any()
    assert len({int(instances[value == i][0]) for i in (BIG, 300)} - {0}) == 2
    assert all(len(np.unique(instances[value == i])) == 1 for i in (BIG, 300))


def test_what_is_missing_is_found_when_the_set_is_opened(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'neither annotations/panoptic_val2017\.json'):
        open_reader(f'coco:{tmp_path}', 'val')
    write(tmp_path, LAYOUTS[2])
    (tmp_path / 'val' / 'a.png').unlink()
    with pytest.raises(ValueError, match=r'1 of 1 samples are bad, .*a\.png does not exist'):
        open_reader(f'coco:{tmp_path}', 'val')
    with pytest.raises(ValueError, match='splits train, val, test, got'):
        open_reader(f'coco:{tmp_path}', 'all')


@pytest.mark.parametrize(
    ('segments', 'message'),
    [
        ([(5, 149, 0)], 'in the PNG and not in the JSON'),
        (
            [(5, 149, 0), (BIG, 3, 0), (300, 3, 0), (7, 3, 1), (9, 3, 0)],
            'segment 9 is in the JSON and not in the PNG',
        ),
    ],
)
def test_png_and_json_that_differ_are_named(tmp_path, segments, message):
    write(tmp_path, LAYOUTS[2], segments)
    with pytest.raises(ValueError, match=message):
        open_reader(f'coco:{tmp_path}', 'val').read(0, 0)


def test_an_image_of_another_size_is_named(tmp_path):
    write(tmp_path, LAYOUTS[2], image_size=(8, 12))
    with pytest.raises(ValueError, match=r'a\.png is 8 x 12, its labels .* are 8 x 10'):
        open_reader(f'coco:{tmp_path}', 'val')
    with pytest.raises(ValueError, match=r'a\.png is 8 x 12, its labels .* are 8 x 10'):
        make_reader(f'coco:{tmp_path}', 'val').read(0, 0)


def test_the_official_classes():
    assert (len(LABELS), int(LABELS.is_thing.sum())) == (133, 80)
    assert LABELS.names[:2] == ('person', 'bicycle')
    assert LABELS.labels[-1].category_id == 200


@pytest.mark.skipif(not SAMPLE.is_dir(), reason='needs shared/data next to the checkout')
def test_the_published_sample(tmp_path):
    shutil.copy(SAMPLE / 'panoptic_examples.json', tmp_path / 'val.json')
    shutil.copytree(SAMPLE / 'panoptic_examples', tmp_path / 'panoptic_val')
    shutil.copytree(SAMPLE / 'input_images', tmp_path / 'val')
    reader = open_reader(f'coco:{tmp_path}', 'val')
    assert reader.labels.names == LABELS.names
    assert len(reader) == 2
    document = json.loads((SAMPLE / 'panoptic_examples.json').read_text())
    for i, entry in enumerate(document['annotations']):
        sample = reader.read(i, 0)
        things = [
            s
            for s in entry['segments_info']
            if LABELS.is_thing[LABELS.class_id_of_category[s['category_id']]]
        ]
        whole = [s for s in things if not s['iscrowd']]
        areas = np.bincount(sample.instance_map.ravel())[1:]
        assert sorted(areas[areas > 0].tolist()) == sorted(s['area'] for s in whole)


def outlines(folder, split='val2017'):
    """Instance annotations of `write`'s image: the left car continues under the right one."""

    def box(x1, y1, x2, y2):
        return [[x1, y1, x2, y1, x2, y2, x1, y2]]

    path = folder / 'annotations' / f'instances_{split}.json'
    path.write_text(
        json.dumps(
            {
                'annotations': [
                    {
                        'image_id': 1,
                        'category_id': 3,
                        'iscrowd': 0,
                        'segmentation': box(1, 3, 7, 5),
                    },
                    {
                        'image_id': 1,
                        'category_id': 3,
                        'iscrowd': 0,
                        'segmentation': box(5, 3, 8, 5),
                    },
                    {
                        'image_id': 1,
                        'category_id': 149,
                        'iscrowd': 0,
                        'segmentation': box(0, 2, 10, 8),
                    },
                    {
                        'image_id': 1,
                        'category_id': 3,
                        'iscrowd': 1,
                        'segmentation': {'counts': [80], 'size': [8, 10]},
                    },
                    {
                        'image_id': 2,
                        'category_id': 3,
                        'iscrowd': 0,
                        'segmentation': box(0, 0, 10, 8),
                    },
                ]
            }
        )
    )


def test_instance_annotations_say_what_is_hidden(tmp_path):
    write(tmp_path, LAYOUTS[0])
    outlines(tmp_path)
    sample = open_reader(f'coco:{tmp_path}', 'val', hidden=True).read(0, 0)
    left, right = sample.instance_map[3, 1], sample.instance_map[3, 5]
    expected = np.zeros((HIDDEN_LAYERS, 8, 10), np.int32)
    expected[0, 3:5, 5:7] = left  # between them is road, which hides nothing
    np.testing.assert_array_equal(sample.hidden_map, expected)
    assert left != right
    assert open_reader(f'coco:{tmp_path}', 'val').read(0, 0).hidden_map is None


def test_the_nearest_instances_under_a_pixel_are_kept(tmp_path):
    """Five bars that start at the left; shorter ones lie on longer ones."""
    ends = {i: 2 * i for i in range(1, 6)}
    instance_map = np.zeros((4, 10), np.int32)
    for i, end in reversed(ends.items()):
        instance_map[:, :end] = i
    bars = [
        {
            'image_id': 1,
            'category_id': i,
            'iscrowd': 0,
            'segmentation': [[0, 0, end, 0, end, 4, 0, 4]],
        }
        for i, end in ends.items()
    ]
    path = tmp_path / 'instances.json'
    path.write_text(json.dumps({'annotations': bars}))
    hidden = Outlines(path).hidden_map(1, instance_map, {i: i for i in ends})
    assert hidden.shape == (HIDDEN_LAYERS, 4, 10)
    for x, visible in enumerate(instance_map[0]):
        below = [i for i in ends if i > visible] + [0] * HIDDEN_LAYERS
        assert hidden[:, 0, x].tolist() == below[:HIDDEN_LAYERS]


@pytest.mark.parametrize(
    'polygon',
    [
        (2, 1, 6, 1, 6, 4, 2, 4),  # on the borders of pixels
        (2.3, 0.7, 5.7, 0.7, 5.7, 4.3, 2.3, 4.3),  # around centres
    ],
)
def test_polygons_hold_the_pixels_whose_centres_they_hold(polygon):
    expected = np.zeros((6, 8), bool)
    expected[1:4, 2:6] = True
    np.testing.assert_array_equal(fill([list(polygon)], (6, 8)), expected)


def test_hidden_parts_need_the_instance_annotations(tmp_path):
    write(tmp_path, LAYOUTS[0])
    with pytest.raises(FileNotFoundError, match=r'hidden parts .* from .*instances_val2017\.json'):
        open_reader(f'coco:{tmp_path}', 'val', hidden=True)
    (tmp_path / 'annotations' / 'instances_val2017.json').write_text('{"annotations": [{}]}')
    with pytest.raises(ValueError, match=r'annotations\[0\]: `image_id` is missing'):
        open_reader(f'coco:{tmp_path}', 'val', hidden=True)
