# SPDX-License-Identifier: Apache-2.0
"""`panoptic predict`: arguments, printed lines, status, standard input."""

import io
import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from tiny_model import LABELS, paint_scene

from panoptic_ros.cli import predict
from panoptic_ros.cli.main import main
from panoptic_ros.cli.model_source import model_argument
from panoptic_ros.core.coco_format import read_annotations, read_ids, read_json, read_labels
from panoptic_ros.core.model_file import load_onnx, read_info, write_model_file

SIZE = (64, 128)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder with two images, in the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'photos').mkdir()
    for name in ('2.png', '10.png'):
        cv2.imwrite(f'photos/{name}', paint_scene(*SIZE)[:, :, ::-1])
    return tmp_path / 'photos'


def error_of(capsys):
    line = capsys.readouterr().err
    assert line.startswith('panoptic: error: ') and line.count('\n') == 1, line
    return line


def test_a_picture_a_png_and_an_entry_for_each_image(tiny_model, photos, capsys):
    assert main(['predict', str(tiny_model), 'photos']) == 0
    first, second, last = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r'2\.png  128x64  \d+ ms  1 ball, 1 box, floor, wall', first)
    assert second.startswith('10.png  ')
    assert re.fullmatch(
        r'2 images predicted, \d+\.\d images/s; saved to predict_output '
        r'\(overlays, predictions, predictions.json, predict.json\)',
        last,
    )
    out = Path('predict_output')
    document = read_json(out / 'predictions.json')
    assert read_labels(document, out) == LABELS
    annotations = read_annotations(document, out, out / 'predictions', LABELS)
    assert list(annotations) == [2, 10]
    scene = paint_scene(*SIZE)
    for annotation in annotations.values():
        ids = read_ids(annotation)
        assert {scene[ids == i].mean(axis=0).argmax() for i in ids[ids > 0]} == {0, 1, 2}
    segments = document['annotations'][0]['segments_info']
    ball = next(s for s in segments if s['category_id'] == 24)
    assert (ball['bbox'], ball['area'], ball['iscrowd']) == ([16, 16, 32, 32], 1024, 0)
    assert cv2.imread(str(out / 'overlays/10.jpg')).shape == (*SIZE, 3)


def test_the_packaged_model_is_used_without_one(photos, capsys):
    assert main(['predict', 'photos/2.png', '-o', 'out']) == 0
    assert json.loads(Path('out/predict.json').read_text())['model'].startswith('city ')
    assert [p.name for p in Path('out/overlays').iterdir()] == ['2.jpg']


@pytest.mark.parametrize(
    ('words', 'model', 'images'),
    [
        ('a.jpg b.jpg', None, 'a.jpg b.jpg'),
        ('m.onnx a.jpg b.jpg', 'm.onnx', 'a.jpg b.jpg'),
        ('hf:org/name a.jpg', 'hf:org/name', 'a.jpg'),
        ('-', None, '-'),
    ],
)
def test_the_first_argument_may_be_the_model(words, model, images):
    split = predict.split_model([model_argument(word) for word in words.split()])
    assert split == (model and model_argument(model), [Path(word) for word in images.split()])


@pytest.mark.parametrize(
    ('words', 'reason'),
    [
        ('m.onnx', 'm.onnx is the model; name the images after it'),
        ('photos hf:org/name', 'hf:org/name is a model; name one'),
        ('photos m.onnx', 'm.onnx is a model; name one model, as the first argument'),
        ('best.ckpt photos', '`panoptic export` makes one'),
        ('checkpoint photos', 'write hf:checkpoint'),
        ('empty', 'empty holds no image'),
        (['m.onnx', '', '-o', 'out'], 'is empty, expected a path'),
        ('bag', '`panoptic replay` reads bags'),
        ('notes.txt', 'notes.txt is of an unknown format; expected an image (jpeg, '),
        ('phone.heic', 'phone.heic is a HEIC or AVIF image'),
        ('cut.mp4', 'cut.mp4 cannot be read as a video'),
        ('photos/2.png --track', 'photos/2.png is one image'),
        ('photos -o notes.txt', 'must be a folder'),
        ('photos -o photos/out', 'would change the input folder'),
        ('photos -o empty/../full', 'is not empty and not of a prediction'),
        ('- photos', 'no other image'),
        ('photos --ids notes.json', 'expected a list `images`'),
        ('photos --ids few.json', 'few.json does not list 10.png (1 such)'),
        ('photos --track --ids few.json', 'not to the frames of videos'),
    ],
)
def test_wrong_arguments_are_one_line_and_change_nothing(photos, capsys, words, reason):
    for name in ('empty', 'full', 'bag', 'checkpoint'):
        Path(name).mkdir()
    for name in ('full/photo.jpg', 'bag/b.mcap', 'checkpoint/config.json'):
        Path(name).touch()
    Path('notes.txt').write_text('buy milk')
    Path('cut.mp4').write_text('no video')
    Path('phone.heic').write_bytes(b'\0\0\0\x18ftypheic' + bytes(99))
    Path('notes.json').write_text('{}')
    Path('few.json').write_text(json.dumps({'images': [{'id': 1, 'file_name': 'a/2.png'}]}))
    before = sorted(Path().rglob('*'))
    assert main(['predict', *(words.split() if isinstance(words, str) else words)]) == 2
    assert reason in error_of(capsys)
    assert sorted(Path().rglob('*')) == before


def test_the_others_are_predicted_if_an_image_is_bad(tiny_model, photos, capsys):
    (photos / '3.jpg').write_text('no image')
    (photos / '4.jpg').touch()
    assert main(['predict', str(tiny_model), 'photos']) == 1
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == ['2.png', '10.png', '2']
    assert '2 images predicted' in out and ', 2 not read; saved to' in out
    assert [line.partition(':')[0] for line in err.splitlines()] == ['not read'] * 2
    assert 'photos/3.jpg: expected jpeg, ' in err and 'photos/4.jpg is empty' in err


def test_photos_are_turned_by_their_exif_orientation(tiny_model, photos, capsys):
    """The result of a turned photo is that of the upright one, in all files and as a clip."""
    image = pytest.importorskip('PIL.Image')
    scene = paint_scene(*SIZE)
    Path('turned').mkdir()
    for value, turns in ((1, 0), (6, 1), (3, 2), (8, 3)):  # turns to the left of the sensor
        picture = image.fromarray(np.ascontiguousarray(np.rot90(scene, turns)))
        exif = picture.getexif()
        exif[0x112] = value
        picture.save(f'turned/{value}.png', exif=exif)
    for flags in ([], ['--track', '-o', 'tracked']):
        assert main(['predict', str(tiny_model), 'turned', *flags]) == 0
        out, err = capsys.readouterr()
        assert not err
        assert {line.split()[1] for line in out.splitlines()[:-1]} == {'128x64'}
        out = Path(flags[-1] if flags else 'predict_output')
        document = read_json(out / 'predictions.json')
        assert {(i['height'], i['width']) for i in document['images']} == {SIZE}
        boxes = [[s['bbox'] for s in a['segments_info']] for a in document['annotations']]
        assert len(boxes) == 4 and boxes.count(boxes[0]) == 4
        pngs = [cv2.imread(str(path)) for path in out.glob('predictions/**/*.png')]
        assert len(pngs) == 4 and all(np.array_equal(png, pngs[0]) for png in pngs)
    assert cv2.imread('predict_output/overlays/6.jpg').shape == (*SIZE, 3)


def test_pipes_are_not_opened(tiny_model, photos, capsys):
    os.mkfifo(photos / 'pipe.png')
    assert main(['predict', str(tiny_model), 'photos']) == 1
    assert 'photos/pipe.png is a pipe or a device' in capsys.readouterr().err
    os.mkfifo('pipe')
    assert main(['predict', str(tiny_model), 'pipe', '-o', 'other']) == 2
    assert 'pipe is a pipe or a device' in error_of(capsys)


def test_nothing_is_left_if_no_image_can_be_read(tiny_model, photos, capsys):
    Path('bad.jpg').write_text('no image')
    assert main(['predict', str(tiny_model), 'bad.jpg']) == 2
    assert 'none of the images could be read' in capsys.readouterr().err
    assert not Path('predict_output').exists()
    assert main(['predict', 'photos/2.png']) == 0  # with another model


def test_an_image_on_standard_input(tiny_model, photos, capsys, monkeypatch):
    data = (photos / '2.png').read_bytes()
    monkeypatch.setattr(
        'sys.stdin', SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: False)
    )
    assert main(['predict', str(tiny_model), '-']) == 0
    document = json.loads(capsys.readouterr().out)
    (annotation,) = document['annotations']
    masks = {}
    for segment in annotation['segments_info']:
        counts = segment['segmentation']['counts']
        runs = [np.full(n, i % 2, bool) for i, n in enumerate(counts)]
        masks[segment['category_id']] = np.concatenate(runs).reshape(SIZE[::-1]).T
    scene = paint_scene(*SIZE)
    assert np.array_equal(masks[24], (scene == (255, 0, 0)).all(axis=2))
    assert sum(mask.astype(int) for mask in masks.values()).tolist() == np.ones(SIZE).tolist()
    assert sorted(Path().iterdir()) == [Path('photos')]


@pytest.mark.parametrize(('data', 'reason'), [(b'', 'is empty'), (b'text', 'expected jpeg')])
def test_bad_standard_input(tiny_model, photos, capsys, monkeypatch, data, reason):
    monkeypatch.setattr(
        'sys.stdin', SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: False)
    )
    assert main(['predict', str(tiny_model), '-']) == 2
    line = error_of(capsys)
    assert 'standard input' in line and reason in line


def test_a_terminal_is_not_read(photos, capsys, monkeypatch):
    monkeypatch.setattr('sys.stdin', SimpleNamespace(buffer=None, isatty=lambda: True))
    assert main(['predict', '-']) == 2
    assert 'expects an image on standard input' in error_of(capsys)


@pytest.mark.parametrize('unknown', [{}, {'ball': 0.99, 'floor': 0.99}])
def test_predictions_are_scored_like_those_of_evaluate(tiny_model, tmp_path, unknown):
    """Segments whose class a model withholds count as void in all three ways."""
    pytest.importorskip('panoptic_training.data.registry')
    from tiny_data import make_data

    if unknown:
        model, info = load_onnx(tiny_model), read_info(tiny_model)
        tiny_model = tmp_path / 'unsure.onnx'
        write_model_file(model, info.with_unknown(unknown), tiny_model)
    data = make_data(tmp_path / 'data', 3)
    gt, scores = data / 'val.json', tmp_path / 'scores.json'
    words = ['predict', tiny_model, data / 'val', '--ids', gt, '-o', tmp_path / 'out']
    assert main(list(map(str, words))) == 0
    words = ['score', '--gt_json_file', gt, '--gt_folder', data / 'panoptic_val', '--json', scores]
    words += ['--pred_json_file', tmp_path / 'out/predictions.json']
    assert main(list(map(str, words))) == 0
    mine = json.loads(scores.read_text())
    words = ['evaluate', '--model', tiny_model, '--data', f'coco:{data}', '--json', scores]
    assert main(list(map(str, words))) == 0
    theirs = json.loads(scores.read_text())
    words = ['evaluate', '--predictions', tmp_path / 'out/predictions.json', '--json', scores]
    assert main(list(map(str, [*words, '--data', f'coco:{data}']))) == 0
    read = json.loads(scores.read_text())
    assert mine['all'] == theirs['all'] == read['all']
    assert 0 < mine['all']['pq'] < 100
