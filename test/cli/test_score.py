# SPDX-License-Identifier: Apache-2.0
"""`panoptic score` on files: the published sample if it is available, and small ones."""

import json
import re
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from panoptic_ros.cli import score
from panoptic_ros.cli.arguments import Parser
from panoptic_ros.core import progress

SAMPLE = Path(__file__).parents[3] / 'shared/data/coco_panoptic_sample/panoptic_examples.json'
needs_sample = pytest.mark.skipif(not SAMPLE.is_file(), reason='needs coco_panoptic_sample')


def run(*arguments):
    parser = Parser()
    score.add_parser(parser.add_subparsers())
    args = parser.parse_args(['score', *map(str, arguments)])
    args.func(args)


def write_png(path, ids):
    """Write an 8-bit RGB PNG with id = R + 256 G + 65536 B."""
    ids = np.asarray(ids, np.uint32)
    bgr = np.stack([ids >> 16, ids >> 8 & 255, ids & 255], axis=-1).astype(np.uint8)
    assert cv2.imwrite(str(path), bgr)


def segment(i, category, **more):
    return {'id': i, 'category_id': category, **more}


BIG = 3 + 256 * 2 + 65536 * 200


@pytest.fixture
def files(tmp_path):
    """Write gt.json and pred.json of two 4 x 10 images; category ids are car 26 and road 7."""
    document = {
        'categories': [
            {'id': 26, 'name': 'car', 'isthing': 1, 'color': [0, 0, 142]},
            {'id': 7, 'name': 'road', 'isthing': 0},
        ],
        'annotations': [
            {
                'image_id': 5,
                'file_name': 'a.png',
                'segments_info': [segment(1, 26), segment(BIG, 7, iscrowd=0)],
            },
            {
                'image_id': 'six',
                'file_name': 'b.png',
                'segments_info': [segment(2, 26, iscrowd=1)],
            },
        ],
    }
    for side in ('gt', 'pred'):
        (tmp_path / f'{side}.json').write_text(json.dumps(document))
        (tmp_path / side).mkdir()
        write_png(tmp_path / side / 'a.png', np.repeat([[1] * 4 + [BIG] * 6], 4, axis=0))
        write_png(tmp_path / side / 'b.png', np.full((4, 10), 2))
    return tmp_path


def score_files(files, *more):
    run('--gt_json_file', files / 'gt.json', '--pred_json_file', files / 'pred.json', *more)


def change(path, edit):
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


@needs_sample
@pytest.mark.parametrize(
    ('shift', 'expected'),
    [
        (0, {'all': 100.0, 'things': 100.0, 'stuff': 100.0}),
        (8, {'all': 52.6, 'things': 27.7, 'stuff': 77.6}),  # computed with panopticapi
    ],
)
def test_published_sample_against_a_shifted_copy(tmp_path, capsys, shift, expected):
    document = json.loads(SAMPLE.read_text())
    (tmp_path / 'pred').mkdir()
    for annotation in document['annotations']:
        bgr = cv2.imread(str(SAMPLE.with_suffix('') / annotation['file_name']))
        cv2.imwrite(str(tmp_path / 'pred' / annotation['file_name']), np.roll(bgr, shift, axis=1))
    (tmp_path / 'pred.json').write_text(json.dumps(document))
    run(
        '--gt_json_file',
        SAMPLE,
        '--pred_json_file',
        tmp_path / 'pred.json',
        '--json',
        tmp_path / 'scores.json',
    )
    scores = json.loads((tmp_path / 'scores.json').read_text())
    assert {name: round(scores[name]['pq'], 1) for name in expected} == expected
    assert len(scores['per_class']) == 133 and scores['images'] == 2
    printed = re.findall(r'^(All|Things|Stuff) *\| +([\d.]+)', capsys.readouterr().out, re.M)
    assert {name.lower(): float(pq) for name, pq in printed} == expected


def test_folders_default_to_those_next_to_the_json_files(files, capsys):
    score_files(files)
    assert 'All       | 100.0  100.0  100.0     2' in capsys.readouterr().out
    (files / 'pred').rename(files / 'elsewhere')
    (files / 'gt').rename(files / 'truth')
    score_files(files, '--pred_folder', files / 'elsewhere', '--gt_folder', files / 'truth')
    assert 'All       | 100.0  100.0  100.0     2' in capsys.readouterr().out


def test_predictions_may_cover_more_images(files, capsys):
    change(files / 'gt.json', lambda d: d['annotations'].pop())
    score_files(files)
    assert '100.0' in capsys.readouterr().out


def test_a_crowd_need_not_be_found(files, capsys):
    change(files / 'pred.json', lambda d: d['annotations'][1].update(segments_info=[]))
    write_png(files / 'pred/b.png', np.zeros((4, 10)))
    score_files(files)
    assert 'Things    | 100.0  100.0  100.0     1' in capsys.readouterr().out


def first(d):
    return d['annotations'][0]


@pytest.mark.parametrize(
    ('edit', 'message'),
    [
        (
            lambda d: first(d)['segments_info'].pop(0),
            r'image 5: .*pred/a\.png: segment 1 is in the PNG and not in the JSON',
        ),
        (
            lambda d: first(d)['segments_info'].append(segment(9, 26)),
            r'image 5: .*a\.png: segment 9 is in the JSON and not in the PNG',
        ),
        (
            lambda d: first(d)['segments_info'][0].update(category_id=99),
            r'pred\.json: image 5: segment 1 has unknown category_id 99',
        ),
        (
            lambda d: first(d)['segments_info'].append(segment(1, 7)),
            r'pred\.json: image 5: segment ids must differ',
        ),
        (lambda d: d['annotations'].pop(), r'pred\.json: no prediction for image six \(1 such\)'),
        (lambda d: d['annotations'].append(first(d)), r'pred\.json: image 5 is annotated twice'),
        (
            lambda d: first(d).pop('file_name'),
            r'pred\.json: annotations\[0\]: `file_name` is missing',
        ),
        (lambda d: first(d).update(file_name='c.png'), r'image 5: .*c\.png does not exist'),
        (lambda d: d.pop('annotations'), r'pred\.json is not in a COCO format'),
    ],
)
def test_errors_name_the_bad_json(files, edit, message):
    change(files / 'pred.json', edit)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        score_files(files, '--json', files / 'scores.json')
    assert '\n' not in str(error.value)
    assert not (files / 'scores.json').exists()


def png_with_header_size(side):
    """Return a PNG of 1 x 1 px whose header has a size of side x side px."""
    png = cv2.imencode('.png', np.zeros((1, 1, 3), np.uint8))[1].tobytes()
    header = b'IHDR' + 2 * side.to_bytes(4, 'big') + png[24:29]
    return png[:12] + header + zlib.crc32(header).to_bytes(4, 'big') + png[33:]


@pytest.mark.parametrize(
    ('write', 'message'),
    [
        (
            lambda p: write_png(p, [[1, BIG]] * 3),
            'image 5: the prediction is 2 x 3 pixels, the ground truth 10 x 4',
        ),
        (lambda p: p.write_bytes(b'no picture'), r'image 5: .*a\.png is not an 8-bit RGB PNG'),
        (lambda p: cv2.imwrite(str(p), np.ones((4, 10), np.uint8)), 'is not an 8-bit RGB PNG'),
        (lambda p: cv2.imwrite(str(p), np.ones((4, 10, 3), np.uint16)), 'is not an 8-bit RGB PNG'),
        (
            lambda p: p.write_bytes(png_with_header_size(30_000)),
            '30000 x 30000 pixels, expected 89478485 at most',
        ),
        (lambda p: p.write_bytes(p.read_bytes()[:-20]), 'is a damaged PNG'),
        (lambda p: p.unlink(), r'image 5: .*a\.png does not exist'),
    ],
)
def test_errors_name_the_bad_png(files, write, message):
    write(files / 'pred/a.png')
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        score_files(files)


@pytest.mark.parametrize(
    ('edit', 'message'),
    [
        (lambda d: d.pop('categories'), r'gt\.json lists no categories'),
        (
            lambda d: d['categories'][0].pop('isthing'),
            r'gt\.json: categories\[0\]: `isthing` is missing',
        ),
        (lambda d: d['categories'][1].update(id=26), r'gt\.json: .*category_id once.*26'),
    ],
)
def test_errors_name_the_bad_category(files, edit, message):
    change(files / 'gt.json', edit)
    with pytest.raises(ValueError, match=message):
        score_files(files)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('--pred_folder', 'nowhere'), 'no folder with segmentation PNGs at nowhere'),
        (('--json', 'nowhere/scores.json'), '--json: no folder nowhere'),
    ],
)
def test_errors_name_the_missing_folder(files, arguments, message):
    with pytest.raises(FileNotFoundError, match=message):
        score_files(files, *arguments)


def test_errors_name_the_missing_or_broken_file(files):
    (files / 'pred.json').write_text('{"annotations": [')
    with pytest.raises(ValueError, match=r'pred\.json is not JSON'):
        score_files(files)
    (files / 'pred.json').unlink()
    with pytest.raises(FileNotFoundError, match=r'no JSON file at .*pred\.json'):
        score_files(files)


def test_only_long_work_shows_a_progress_bar(files, capsys, monkeypatch):
    score_files(files)
    assert capsys.readouterr().err == ''
    monkeypatch.setattr(progress, 'LINE_EVERY_S', 0.0)
    score_files(files)
    assert '2 of 2 images scored (100 %)' in capsys.readouterr().err


def test_the_scores_file_is_replaced(files):
    (files / 'scores.json').write_text('old')
    score_files(files, '--json', files / 'scores.json')
    assert json.loads((files / 'scores.json').read_text())['all']['pq'] == 100
    assert not [p for p in files.iterdir() if p.name.startswith('.')]
