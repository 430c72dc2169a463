# SPDX-License-Identifier: Apache-2.0
"""Conversion to COCO's panoptic format: the reader returns the converted labels."""

import json
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from panoptic_ros.core.labels import VOID_ID, Label, LabelSet
from panoptic_training.data import convert
from panoptic_training.data.convert import Part, divide, segments_of, write_data
from panoptic_training.data.folder import SemanticAndInstance
from panoptic_training.data.outlines import decode_counts, mask_of, parse_outline
from panoptic_training.data.polygons import Polygons
from panoptic_training.data.registry import open_reader

PHOTOS = Path(__file__).parents[4] / 'shared/data/coco_instances'
TRACKS = PHOTOS.with_name('metrics') / 'seg_track/seg_track_sample.json'
SIZE = (8, 12)


def box(x1, y1, x2, y2):
    return [[x1, y1, x2, y1, x2, y2, x1, y2]]


def save_image(path, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(path.name)).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(noise).save(path)


def runs_of(mask):
    """Run lengths by columns, the first one outside, by a loop over the definition."""
    counts, value, run = [], False, 0
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            counts.append(run)
            value, run = pixel, 0
        run += 1
    return [*counts, run]


def letters_of(counts):
    """COCO's compressed run lengths, by the description of the format."""
    text = ''
    for i, count in enumerate(counts):
        value = count - counts[i - 2] if i > 2 else count
        more = True
        while more:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text += chr(48 + (bits | 32 * more))
    return text


def instances(folder, names=('a.png', 'b.png', 'c.png'), **replace):
    """A JSON of a large dog with a small ball on it, and a crowd that overlaps both."""
    crowd = np.zeros(SIZE, bool)
    crowd[4:7, 0:11] = True
    images, annotations = [], []
    for i, name in enumerate(names):
        save_image(folder / 'photos' / name)
        images.append({'id': 10 + i, 'file_name': name, 'height': SIZE[0], 'width': SIZE[1]})
        for category, segmentation, is_crowd in (
            (3, box(5, 3, 7, 5), 0),
            (7, box(2, 1, 9, 6), 0),
            (7, {'size': list(SIZE), 'counts': runs_of(crowd)}, 1),
        ):
            annotations.append(
                {
                    'id': len(annotations),
                    'image_id': 10 + i,
                    'iscrowd': is_crowd,
                    'category_id': category,
                    'segmentation': segmentation,
                }
            )
    document = {
        'images': images,
        'annotations': annotations,
        'categories': [{'id': 3, 'name': 'ball'}, {'id': 7, 'name': 'dog'}],
        **replace,
    }
    path = folder / 'instances.json'
    path.write_text(json.dumps(document))
    return path


def drawn():
    """(class_map, instance_map) of each image, painted by hand; ids by place in the file."""
    class_map, instance_map = np.full(SIZE, VOID_ID, np.uint8), np.zeros(SIZE, np.int32)
    class_map[4:7, 0:11] = 1
    class_map[1:6, 2:9], instance_map[1:6, 2:9] = 1, 2
    class_map[3:5, 5:7], instance_map[3:5, 5:7] = 0, 1
    return class_map, instance_map


def test_smaller_polygons_lie_on_top_and_crowds_below(tmp_path):
    source = Polygons(instances(tmp_path), tmp_path / 'photos')
    assert source.faults() == {} and source.labels.names == ('ball', 'dog')
    assert source.labels.is_thing.all()
    class_map, instance_map = source.read_labels(0)
    np.testing.assert_array_equal(class_map, drawn()[0])
    np.testing.assert_array_equal(instance_map, drawn()[1])


def test_the_background_may_be_a_class(tmp_path):
    source = Polygons(instances(tmp_path), tmp_path / 'photos', 'floor')
    assert source.labels.names == ('ball', 'dog', 'floor') and not source.labels.is_thing[2]
    class_map, _ = source.read_labels(0)
    np.testing.assert_array_equal(class_map, np.where(drawn()[0] == VOID_ID, 2, drawn()[0]))


def test_instances_that_are_wholly_hidden_are_counted(tmp_path):
    path = instances(
        tmp_path,
        annotations=[
            {'id': 1, 'image_id': 10, 'category_id': 3, 'segmentation': box(2, 1, 9, 6)},
            {'id': 2, 'image_id': 10, 'category_id': 7, 'segmentation': box(2, 1, 9, 6)},
            {'id': 3, 'image_id': 10, 'category_id': 7, 'segmentation': box(20, 1, 22, 6)},
        ],
    )
    source = Polygons(path, tmp_path / 'photos')
    source.read_labels(0)
    assert source.lost == 2
    assert source.notes()[-1].startswith('2 instances are left out')


@pytest.mark.parametrize('seed', range(4))
def test_run_lengths_as_numbers_and_letters(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((67, 91)) < rng.choice([0.001, 0.1, 0.5])
    counts = runs_of(mask)
    assert decode_counts(letters_of(counts)) == counts
    for coded in (counts, letters_of(counts)):
        np.testing.assert_array_equal(
            mask_of(parse_outline({'size': [67, 91], 'counts': coded}), (67, 91)), mask
        )


def test_letters_by_hand():
    # 3 x 3 px in the middle of 9 x 9: 30 needs two letters, then 3, 6, and differences 0 0 0 24.
    assert decode_counts('n036000h0') == [30, 3, 6, 3, 6, 3, 30]
    with pytest.raises(ValueError, match=r'run lengths of 3 px .* in an image of 2 x 2'):
        mask_of(parse_outline({'size': [2, 2], 'counts': [3]}), (2, 2))


@pytest.mark.skipif(not TRACKS.is_file(), reason='needs shared/data next to the checkout')
def test_letters_written_by_others():
    frames = json.loads(TRACKS.read_text())
    codes = [label['rle'] for frame in frames[:20] for label in frame['labels'] if label['rle']]
    assert len(codes) > 100
    for code in codes:
        mask = mask_of(parse_outline(code), (720, 1280))
        assert 0 < mask.sum() < mask.size / 2
        assert letters_of(decode_counts(code['counts'])) == code['counts']


@pytest.mark.parametrize(
    ('replace', 'message'),
    [
        ({'categories': [{'id': 3}]}, r'categories\[0\]: `name` is missing'),
        ({'categories': [{'id': 3, 'name': 'a'}, {'id': 3, 'name': 'b'}]}, 'each category_id'),
        ({'images': []}, 'image 1[012] is annotated and not listed'),
    ],
)
def test_json_files_of_another_kind_are_refused(tmp_path, replace, message):
    with pytest.raises(ValueError, match=message):
        Polygons(instances(tmp_path, **replace), tmp_path / 'photos')


def test_what_annotations_lack_is_found_before_converting(tmp_path):
    path = instances(tmp_path)
    document = json.loads(path.read_text())
    document['annotations'][0]['category_id'] = 5
    del document['annotations'][4]['segmentation']
    path.write_text(json.dumps(document))
    save_image(tmp_path / 'photos/c.png', (8, 11))
    faults = Polygons(path, tmp_path / 'photos').faults()
    assert list(faults) == [0, 1, 2]
    for fault, words in zip(
        faults.values(),
        ('unknown category_id 5', 'has no segmentation', 'instances.json says 8 x 12'),
        strict=True,
    ):
        assert words in fault


def write_all(source, indices, out, split='train'):
    return list(write_data({split: Part(source, indices)}, out))


def names_in(folder):
    """The content of a folder, without its lock file."""
    return sorted(path.name for path in folder.iterdir() if path.name != '.lock')


def test_what_is_written_is_what_the_coco_reader_reads(tmp_path):
    source = Polygons(instances(tmp_path), tmp_path / 'photos', 'floor')
    out = tmp_path / 'out'
    assert write_all(source, [0, 2], out) == ['a.png', 'c.png']
    assert write_all(source, [1], out, 'val') == ['b.png']
    assert names_in(out) == [
        'panoptic_train',
        'panoptic_val',
        'train',
        'train.json',
        'val',
        'val.json',
    ]
    reader = open_reader(f'coco:{out}', 'train')
    assert reader.labels.names == source.labels.names
    np.testing.assert_array_equal(reader.labels.colors, source.labels.colors)
    for i, index in enumerate((0, 2)):
        sample = reader.read(i, 0)
        class_map, instance_map = source.read_labels(index)
        np.testing.assert_array_equal(sample.class_map, class_map)
        assert sample.image.tobytes() == source_image(tmp_path, index)
        # The same regions under other numbers.
        pairs = np.unique(np.stack([sample.instance_map, instance_map]).reshape(2, -1), axis=1)
        assert len(pairs.T) == len(set(pairs[0])) == len(set(pairs[1])) == 3
        assert [0, 0] in pairs.T.tolist()


def source_image(folder, index):
    with Image.open(folder / f'photos/{"abc"[index]}.png') as image:
        return np.asarray(image).tobytes()


def test_segments_have_area_box_and_crowd():
    labels = LabelSet((Label('ball', True, (1, 2, 3), 3), Label('dog', True, (1, 2, 3), 7)))
    ids, segments = segments_of(drawn(), labels)
    class_map, instance_map = drawn()
    for segment in segments:
        mask = ids == segment['id']
        y, x = np.nonzero(mask)
        assert segment['area'] == mask.sum() > 0
        assert segment['bbox'] == [x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1]
        assert {labels.labels[c].category_id for c in class_map[mask]} == {segment['category_id']}
        assert segment['iscrowd'] == (instance_map[mask] == 0).all()
    assert len(segments) == 3 and ((ids == 0) == (class_map == VOID_ID)).all()


def test_nothing_half_written_is_left(tmp_path):
    source = Polygons(instances(tmp_path), tmp_path / 'photos')
    out = tmp_path / 'out'
    step = write_data({'train': Part(source, [0, 1, 2])}, out)
    next(step)
    step.close()  # as Ctrl-C does
    assert not out.exists()
    (tmp_path / 'photos/b.png').unlink()
    with pytest.raises(FileNotFoundError):  # in the second split: nor is the first one there
        list(write_data({'train': Part(source, [0, 2]), 'val': Part(source, [1])}, out))
    assert not out.exists()
    write_all(source, [0, 2], out)
    with pytest.raises(FileExistsError, match=r'train\.json exists already; .* or --overwrite'):
        write_all(source, [0, 2], out)


class Killed(BaseException):
    """Simulation of a killed process: no clean-up runs after it."""


@pytest.mark.parametrize('renames', range(6))
@pytest.mark.parametrize('overwrite', [False, True])
def test_a_conversion_that_is_killed_can_be_repeated(tmp_path, monkeypatch, renames, overwrite):
    source = Polygons(instances(tmp_path), tmp_path / 'photos')
    out = tmp_path / 'out'
    before = {}
    if overwrite:
        write_all(source, [1], out)
        before = {path.name: path.stat().st_ino for path in out.iterdir()}
    done = []

    def rename(self, target, original=Path.rename):
        if len(done) == renames:
            raise Killed
        done.append(target)
        return original(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, 'rename', rename)
        patch.setattr(convert, '_undo', lambda out: None)
        with pytest.raises(Killed) if renames < (6 if overwrite else 3) else nullcontext():
            list(write_data({'train': Part(source, [0, 2])}, out, overwrite))
    step = write_data({'train': Part(source, [0, 2])}, out, overwrite=True)
    next(step)  # what was there before is back while the repetition works
    assert (
        not overwrite
        or before.items() <= {path.name: path.stat().st_ino for path in out.iterdir()}.items()
    )
    assert list(step) == ['c.png']
    assert names_in(out) == ['panoptic_train', 'train', 'train.json']
    assert names_in(out / 'train') == ['a.png', 'c.png']


def test_only_a_data_set_is_overwritten(tmp_path):
    source = Polygons(instances(tmp_path), tmp_path / 'photos')
    (tmp_path / 'photos').rename(tmp_path / 'train')
    with pytest.raises(FileExistsError, match=r'train exists and belongs to no data set'):
        list(write_data({'train': Part(source, [0])}, tmp_path, overwrite=True))
    assert len(names_in(tmp_path / 'train')) == 3


def test_one_process_at_a_time_writes_to_a_folder(tmp_path):
    source = Polygons(instances(tmp_path), tmp_path / 'photos')
    first = write_data({'train': Part(source, [0, 1])}, tmp_path / 'out')
    next(first)
    with pytest.raises(ValueError, match='in use by another conversion'):
        write_all(source, [2], tmp_path / 'out', 'val')
    assert list(first) == ['b.png']


def separate(folder):
    ids, numbers = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint16)
    ids[3:] = 4
    ids[4:6, 2:8] = 9
    numbers[4:6, 2:5], numbers[4:6, 5:7] = 700, 3  # the rest of the cars is a crowd
    numbers[7] = 5  # on stuff: counts for nothing
    for name, value in (('sem', ids), ('ins', numbers)):
        (folder / name).mkdir(exist_ok=True)
        Image.fromarray(value).save(folder / name / 'a.png')
    save_image(folder / 'photos/a.jpg')
    (folder / 'classes.yaml').write_text(
        'classes: [{id: 4, name: road, kind: stuff}, {id: 9, name: car, kind: thing}]'
    )
    return SemanticAndInstance(
        folder / 'classes.yaml', folder / 'photos', folder / 'sem', folder / 'ins'
    )


def test_semantic_and_instance_pngs(tmp_path):
    source = separate(tmp_path)
    class_map, instance_map = source.read_labels(0)
    expected = np.full(SIZE, VOID_ID)
    expected[3:], expected[4:6, 2:8] = 0, 1
    np.testing.assert_array_equal(class_map, expected)
    found = [np.unique(instance_map[4:6, x]).tolist() for x in (slice(2, 5), slice(5, 7))]
    assert sorted(found) == [[1], [2]] and (instance_map > 0).sum() == 10
    write_all(source, [0], tmp_path / 'out')
    sample = open_reader(f'coco:{tmp_path / "out"}', 'train').read(0, 0)
    np.testing.assert_array_equal(sample.class_map, class_map)
    np.testing.assert_array_equal(sample.instance_map > 0, instance_map > 0)


def test_class_id_0_and_a_value_without_label(tmp_path):
    source = separate(tmp_path)
    value = np.zeros(SIZE, np.uint8)
    value[2:], value[5:] = 9, 255
    Image.fromarray(value).save(tmp_path / 'sem/a.png')
    (tmp_path / 'classes.yaml').write_text(
        'ignore: 255\nclasses: [{id: 0, name: road, kind: stuff}, {id: 9, name: car, kind: thing}]'
    )
    source = SemanticAndInstance(
        *(tmp_path / name for name in ('classes.yaml', 'photos', 'sem', 'ins'))
    )
    assert source.read_labels(0)[0][:, 0].tolist() == [0, 0, 1, 1, 1, VOID_ID, VOID_ID, VOID_ID]


@pytest.mark.parametrize(
    ('name', 'value', 'message'),
    [
        (
            'sem',
            np.full(SIZE, 5, np.uint8),
            r'means that a pixel has no label, add `ignore: \[5\]`',
        ),
        ('sem', np.full(SIZE, 5, np.uint8), r'a\.png: class id 5 is not in classes\.yaml'),
        ('ins', np.zeros((8, 11), np.uint16), r'a\.png is 8 x 12, .*ins/a\.png 8 x 11'),
    ],
)
def test_pngs_that_do_not_fit_are_named(tmp_path, name, value, message):
    source = separate(tmp_path)
    Image.fromarray(value).save(tmp_path / name / 'a.png')
    with pytest.raises(ValueError, match=message):
        source.read_labels(0)


def test_images_of_the_same_name_take_their_folders(tmp_path):
    source = separate(tmp_path)
    save_image(tmp_path / 'one/a.jpg')
    save_image(tmp_path / 'two/a.jpg')
    source.pairs = [
        source.pairs[0]._replace(image=tmp_path / name / 'a.jpg') for name in ('one', 'two')
    ]
    assert write_all(source, [0, 1], tmp_path / 'out') == ['one_a.jpg', 'two_a.jpg']
    source.pairs = source.pairs[:1] * 2
    with pytest.raises(ValueError, match='same name cannot be distinguished: a'):
        write_all(source, [0, 1], tmp_path / 'other')


@pytest.mark.parametrize(
    ('count', 'share', 'val'),
    [(10, 0.2, 2), (3, 0.01, 1), (3, 0.99, 2), (5, 0.0, 0), (5, 1.0, 5), (1, 0.2, 0)],
)
def test_images_are_divided_by_name(count, share, val):
    names = [f'{i}.jpg' for i in range(count)]
    splits = divide(names, share)
    assert len(splits.get('val', ())) == val
    assert sorted([*splits.get('train', ()), *splits.get('val', ())]) == list(range(count))
    turned = divide(names[::-1], share)
    assert {names[i] for i in splits.get('val', ())} == {
        names[::-1][i] for i in turned.get('val', ())
    }


def test_a_share_over_one_is_refused():
    with pytest.raises(ValueError, match='--val-share must lie in 0 to 1, got 20'):
        divide(['a'], 20)


@pytest.mark.skipif(not PHOTOS.is_dir(), reason='needs shared/data next to the checkout')
def test_real_annotations(tmp_path):
    source = Polygons(PHOTOS / 'instances_train2017.json', PHOTOS / 'images', 'background')
    assert source.faults() == {} and len(source) == 128
    some = [
        i
        for i, entry in enumerate(source.entries)
        if any(one.crowd for one in source.of_image.get(entry.image_id, ()))
    ][:4]
    write_all(source, some, tmp_path)
    reader = open_reader(f'coco:{tmp_path}', 'train')
    areas = Counter()
    for annotation in json.loads(source.pairs[0].labels.read_text())['annotations']:
        areas[annotation['image_id']] += annotation['area']
    for i, index in enumerate(some):
        sample = reader.read(i, 0)
        np.testing.assert_array_equal(sample.class_map, source.read_labels(index)[0])
        # COCO's own area is the polygons'; seen pixels are at most a little more.
        total = areas[source.entries[index].image_id]
        assert 0.5 * total < (sample.class_map < 80).sum() < 1.05 * total + 50
