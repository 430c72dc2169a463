# SPDX-License-Identifier: Apache-2.0
"""COCO instance files of annotation tools, with the faults that occur in practice."""

import json

import numpy as np
import pytest
from PIL import Image

from panoptic_ros.cli.main import main
from panoptic_ros.core.labels import VOID_ID
from panoptic_training.data.check import check_split
from panoptic_training.data.outlines import decode_counts, fill, parse_outline
from panoptic_training.data.polygons import Polygons
from panoptic_training.data.registry import make_reader

SIZE = (8, 12)
BOX = [[2, 1, 9, 1, 9, 6, 2, 6]]
CAR = {'id': 1, 'name': 'car'}


def annotation(i=1, **more):
    return {'id': i, 'image_id': 1, 'category_id': 1, 'segmentation': BOX, **more}


def instances(folder, *annotations, categories=(CAR,), images=None, **image):
    (folder / 'photos').mkdir(exist_ok=True)
    for name in ('a.png', 'b.png'):
        Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(folder / 'photos' / name)
    path = folder / 'instances.json'
    path.write_text(
        '\ufeff'
        + json.dumps(
            {
                'images': images or [{'id': 1, 'file_name': 'a.png', **image}],
                'categories': categories,
                'annotations': annotations,
            }
        )
    )
    return path


def opened(folder, *annotations, **more):
    return Polygons(instances(folder, *annotations, **more), folder / 'photos')


def test_images_that_share_an_id_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r'a\.png and b\.png have the same image id 1'):
        opened(
            tmp_path,
            annotation(),
            images=[{'id': 1, 'file_name': 'a.png'}, {'id': 1, 'file_name': 'b.png'}],
        )


def test_a_polygon_without_its_list_is_told(tmp_path):
    with pytest.raises(ValueError, match=r'must be a list of polygons, .* one polygon is 2'):
        opened(tmp_path, annotation(segmentation=BOX[0]))


def test_image_ids_may_be_numbers_here_and_texts_there(tmp_path):
    for one, other in ((7, '7'), ('7', 7)):
        reader = opened(tmp_path, {**annotation(), 'image_id': other}, id=one)
        assert (reader.read_labels(0)[1] > 0).any()


@pytest.mark.parametrize(
    'size',
    [
        {},
        {'height': None, 'width': None},
        {'height': 0, 'width': 0},
        {'height': '8', 'width': 12.0},
    ],
)
def test_the_size_of_an_image_may_be_missing(tmp_path, size):
    source = opened(tmp_path, annotation(), **size)
    assert source.faults() == {}
    class_map, instance_map = source.read_labels(0)
    assert class_map.shape == SIZE
    assert (class_map == 0).sum() == (instance_map == 1).sum() == 35


@pytest.mark.parametrize('value', [None, [], [[]], [[], []]])
def test_a_box_alone_is_no_outline(tmp_path, value):
    source = opened(tmp_path, annotation(segmentation=value, bbox=[2, 1, 7, 5]))
    assert 'annotation 1 has no segmentation; a box alone' in source.faults()[0]


@pytest.mark.parametrize(
    'polygon',
    [[5, 5], [5, 5, 9, 6], [5, 5, 5, 5, 5, 5], [1, 1, 4, 4, 9, 9], [1, 1, 9, 1, 1, 1, 9, 1]],
)
def test_polygons_without_an_inside_are_no_objects(tmp_path, polygon):
    source = opened(tmp_path, annotation(7, segmentation=[polygon]))
    assert source.faults() == {}
    assert (source.read_labels(0)[0] == VOID_ID).all()
    assert source.notes() == ['left out, without area: 1 outline: annotation 7']
    source = opened(tmp_path, annotation(segmentation=[polygon, *BOX]))
    assert (source.read_labels(0)[1] > 0).sum() == 35
    assert source.notes() == []


def test_files_and_images_without_annotations(tmp_path):
    both = [{'id': 1, 'file_name': 'a.png'}, {'id': 2, 'file_name': 'b.png'}]
    assert opened(tmp_path, annotation(), images=both).notes() == [
        'no annotation in 1 image: b.png'
    ]
    with pytest.raises(ValueError, match=r'instances\.json has no annotations'):
        opened(tmp_path, images=both)


def test_a_figure_of_eight_has_an_inside():
    assert fill([[0, 0, 8, 8, 8, 0, 0, 8]], (8, 8)).sum() > 10


@pytest.mark.parametrize(
    'value',
    [
        5,
        'text',
        [5, 5, 9, 6],
        [None],
        [[1, 2, 3]],
        [[1, 1, 4, None, 9, 9]],
        [[1, 1, 4, 'x', 9, 9]],
        [[1, 1, 4, float('nan'), 9, 9]],
        [[1, 1, 4, float('inf'), 9, 9]],
        [[1, 1, 4, 10**400, 9, 9]],
        [[[1, 1], [4, 4], [9, 1]]],
        {},
        {'counts': 5, 'size': [8, 12]},
        {'counts': [96]},
        {'counts': [96], 'size': [8]},
        {'counts': [96], 'size': [8, 'x']},
    ],
)
def test_outlines_of_other_kinds_are_named(tmp_path, value):
    with pytest.raises(ValueError, match=r'instances\.json: annotations\[0\]: '):
        opened(tmp_path, annotation(segmentation=value))


@pytest.mark.parametrize('x', [1e6, -1e9, 1e30, 1e308])
def test_corners_far_outside_are_refused_before_they_are_drawn(tmp_path, x):
    source = opened(tmp_path, annotation(segmentation=[[1, 1, 4, 4, x, 1]]))
    assert 'annotation 1: a polygon has a corner at x = ' in source.faults()[0]
    with pytest.raises(ValueError, match='a polygon has a corner at x = '):
        fill([[1, 1, 4, 4, x, 1]], SIZE)


def test_corners_a_little_outside_are_drawn(tmp_path):
    source = opened(tmp_path, annotation(segmentation=[[-3, -3, 15, -3, 15, 11, -3, 11]]))
    assert source.faults() == {} and (source.read_labels(0)[1] > 0).all()


@pytest.mark.parametrize(
    'counts',
    [
        '\x00',
        'o' * 100,
        'oooooooo0',
        [float('nan')],
        [96.5],
        ['x'],
        [2**62] * 8,
        [-1, 97],
        [50, 40],
        None,
    ],
)
def test_run_lengths_of_other_kinds_are_refused(tmp_path, counts):
    with pytest.raises(ValueError, match=r'run lengths|counts must be'):
        opened(tmp_path, annotation(segmentation={'counts': counts, 'size': SIZE})).read_labels(0)


def test_letters_are_bounded():
    for text in ('ÿ', 'oooooooooooo1'):
        with pytest.raises(ValueError, match='run lengths'):
            decode_counts(text)
    assert parse_outline(None) is None


def masks(folder, **more):
    """Brush masks as CVAT writes them: run lengths, each marked as a crowd."""
    counts = {'counts': [30, 4, 62], 'size': SIZE}
    return instances(
        folder,
        *(annotation(i, segmentation=counts, **more) for i in (1, 2)),
        images=[{'id': i, 'file_name': n} for i, n in ((1, 'a.png'), (2, 'b.png'))],
    )


@pytest.mark.parametrize('crowd', [1, True, '1', 'true'])
def test_masks_that_are_all_crowds_are_told_of(tmp_path, crowd):
    source = Polygons(masks(tmp_path, iscrowd=crowd), tmp_path / 'photos')
    assert source.read_labels(0)[1].max() == 0
    assert 'crowds, so there is no object to learn: car (--crowds-are' in source.notes()[0]
    source = Polygons(masks(tmp_path, iscrowd=crowd), tmp_path / 'photos', None, True)
    assert source.read_labels(0)[1].max() == 2 and 'crowd' not in ''.join(source.notes())


@pytest.mark.parametrize('crowd', [0, False, '0', 'false', None])
def test_masks_of_objects_are_objects(tmp_path, crowd):
    source = Polygons(masks(tmp_path, iscrowd=crowd), tmp_path / 'photos')
    assert source.read_labels(0)[1].max() == 2


def test_check_tells_of_things_that_are_crowds_only(tmp_path, capsys):
    path, out = masks(tmp_path, iscrowd=1), tmp_path / 'out'
    command = [
        'data',
        'convert',
        '--polygons',
        str(path),
        '--images',
        str(tmp_path / 'photos'),
        '--val-share',
        '0',
        '-o',
        str(out),
    ]
    assert main(command) == 0
    assert 'all annotations of these classes are crowds' in capsys.readouterr().out
    report, steps = check_split(make_reader(f'coco:{out}', 'train'), 'train')
    list(steps)
    assert any('crowds, so there is no instance to learn: car' in w for w in report.warnings)
    assert main([*command, '--overwrite', '--crowds-are-objects']) == 0
    report, steps = check_split(make_reader(f'coco:{out}', 'train'), 'train')
    list(steps)
    assert not any('crowd' in warning for warning in report.warnings)


@pytest.mark.parametrize(
    ('categories', 'names', 'left_out'),
    [
        # Roboflow: the project is a category of its own, which all belong to
        (
            [
                {'id': 0, 'name': 'car', 'supercategory': 'none'},
                {'id': 1, 'name': 'car', 'supercategory': 'car'},
            ],
            ('car',),
            ['car'],
        ),
        (
            [
                {'id': 0, 'name': 'my-cars', 'supercategory': 'none'},
                {'id': 1, 'name': 'car', 'supercategory': 'my-cars'},
            ],
            ('car',),
            ['my-cars'],
        ),
        # of two that have one name, the one that is used
        ([CAR, {'id': 2, 'name': 'car', 'supercategory': 'x'}], ('car',), ['car']),
        # what merely does not occur stays
        (
            [
                {'id': 1, 'name': 'car', 'supercategory': 'vehicle'},
                {'id': 2, 'name': 'dog'},
                {'id': 0, 'name': 'vehicle', 'supercategory': 'vehicle'},
            ],
            ('car', 'dog', 'vehicle'),
            [],
        ),
    ],
)
def test_categories_that_are_no_classes_are_left_out(tmp_path, categories, names, left_out):
    source = opened(tmp_path, annotation(), categories=categories)
    assert source.labels.names == names and source.unused == left_out
    assert (source.read_labels(0)[0] == 0).sum() == 35
    assert any('which no annotation uses' in note for note in source.notes()) == bool(left_out)


def test_categories_of_one_name_that_are_both_used_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"categories: .*each name once, got twice: \['car'\]"):
        opened(
            tmp_path,
            annotation(),
            annotation(2, category_id=2),
            categories=[CAR, {'id': 2, 'name': 'car'}],
        )


def test_a_path_of_windows_and_one_that_leaves_the_folder(tmp_path):
    path = instances(tmp_path, annotation(), file_name='photos\\a.png')
    assert Polygons(path, tmp_path).faults() == {}
    for name in ('..\\a.png', '../a.png', '/a.png', 'D:\\a.png'):
        with pytest.raises(ValueError, match=r'images\[0\]: file_name must be a path inside'):
            Polygons(instances(tmp_path, annotation(), file_name=name), tmp_path)


@pytest.mark.parametrize(('exif', 'bright'), [('apply', (0, 0)), ('ignore', (0, 11))])
def test_turned_photos_are_written_upright_or_as_stored(tmp_path, capsys, exif, bright):
    path = instances(
        tmp_path,
        annotation(),
        images=[{'id': 1, 'file_name': 'a.png'}, {'id': 2, 'file_name': 'b.png'}],
    )
    stored = np.zeros((*SIZE, 3), np.uint8)
    stored[0, 11] = 255
    turn = Image.Exif()
    turn[0x112] = 2  # mirrored
    Image.fromarray(stored).save(tmp_path / 'photos/a.png', exif=turn)
    command = [
        'data',
        'convert',
        '--polygons',
        str(path),
        '--images',
        str(tmp_path / 'photos'),
        '--val-share',
        '0',
        '-o',
        str(tmp_path / 'out'),
    ]
    assert main(command) == 2
    assert 'a.png has an EXIF orientation (2)' in capsys.readouterr().err
    assert main([*command, '--exif', exif]) == 0
    with Image.open(tmp_path / 'out/train/a.png') as image:
        assert 0x112 not in image.getexif()
        assert np.argwhere(np.array(image)[..., 0] == 255).tolist() == [list(bright)]
