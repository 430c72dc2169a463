# SPDX-License-Identifier: Apache-2.0
"""The folder of predictions: names, resuming, tracks, and the functions that users call."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_model import LABELS, paint_scene

import panoptic_ros
from panoptic_ros.core.coco_format import read_annotations, read_ids, read_images, read_json
from panoptic_ros.core.files import FolderInUseError
from panoptic_ros.core.frame import Geometry, PanopticFrame, segment_dtype
from panoptic_ros.predictions.folder import LASTING, lasting_ids
from panoptic_ros.predictions.inputs import find_inputs
from panoptic_ros.predictions.run import PredictionRun

SCENE = paint_scene(64, 128)
SCENE.flags.writeable = False


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def draw(*names):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(name, SCENE[:, :, ::-1])
    return list(names)


def draw_video(name, frames=4):
    """A ball that moves to the right."""
    writer = cv2.VideoWriter(name, cv2.VideoWriter.fourcc(*'MJPG'), 10, (128, 64))
    for index in range(frames):
        picture = np.full((64, 128, 3), 200, np.uint8)
        picture[16:48, 4 + 4 * index : 36 + 4 * index] = 0, 0, 255
        writer.write(picture)
    writer.release()
    return name


def predict(model, images, **more):
    return panoptic_ros.predict_files(images, 'out', model, **more)


def open_run(model, images):
    return PredictionRun(find_inputs(list(map(Path, images))), Path('out'), model)


def results():
    """Return the annotations by image id, after all PNGs were compared with them."""
    path = Path('out/predictions.json')
    document = read_json(path)
    images = read_images(document, path)
    annotations = read_annotations(document, path, path.with_suffix(''), LABELS)
    assert list(images) == list(annotations)
    for i, annotation in annotations.items():
        assert read_ids(annotation).shape == images[i].size
    return {entry['image_id']: entry for entry in document['annotations']}


def test_images_of_one_stem_have_results_of_their_own(place, tiny_model):
    names = draw('a.jpg', 'a.png', 'sub/a.jpg', 'sub/007.png', 'v1.2.png')
    assert predict(tiny_model, [*names, 'sub']) == []  # two of them are named twice
    assert list(results()) == ['a', 'a_png', 'sub/a', 'sub/007', 'v1.2']
    found = {path.relative_to('out/overlays').as_posix() for path in Path('out').rglob('*.jpg')}
    assert found == {'a.jpg', 'a_png.jpg', 'sub/a.jpg', 'sub/007.jpg', 'v1.2.jpg'}


def test_numbers_are_ids_unless_two_names_are_the_same_number(place, tiny_model):
    predict(tiny_model, draw('0139.png', '139.png', '7.png'))
    assert list(results()) == [139, '139.png', 7]


def test_results_do_not_leave_the_folder(place, tiny_model):
    Path('inside').mkdir()
    names = draw('deep/b.png', 'a.png')
    predict(tiny_model, ['inside/../deep/../a.png', names[0]])
    assert list(results()) == ['a', 'b']
    draw('deep/a.png', 'deep/c/b.png')
    with PredictionRun(
        find_inputs([Path('inside/../a.png'), Path('deep/c/../a.png'), Path('deep/b.png')]),
        Path('other'),
        tiny_model,
    ) as run:
        assert [result.name for result in run] == ['a.png', 'deep/a.png', 'deep/b.png']


def test_a_stopped_run_resumes(place, tiny_model, monkeypatch):
    names = draw(*(f'{i}.png' for i in range(5)))
    run = open_run(tiny_model, names)
    with pytest.raises(KeyboardInterrupt), run:
        for _ in zip(range(2), run, strict=False):
            pass
        with pytest.raises(FolderInUseError, match='another prediction'):
            open_run(tiny_model, ['0.png'])
        raise KeyboardInterrupt
    assert list(results()) == [0, 1]
    with Path('out/.progress/images.jsonl').open('a') as log:
        log.write('{"name": "2.png", "sta')  # of a process that was killed
    Path('out/predictions/1.png').unlink()
    with open_run(tiny_model, names) as run:
        assert (run.count, run.earlier) == (4, 1)
        assert [result.name for result in run] == ['1.png', '2.png', '3.png', '4.png']
    assert sorted(results()) == [0, 1, 2, 3, 4]
    with open_run(tiny_model, names) as run:
        assert list(run) == []
    assert len(results()) == 5


def test_an_image_that_has_changed_is_predicted_again(place, tiny_model):
    draw('a.png', 'b.png')
    predict(tiny_model, ['a.png', 'b.png'])
    cv2.imwrite('a.png', np.full((32, 64, 3), (255, 0, 0), np.uint8))
    predict(tiny_model, ['a.png'])
    found = results()
    assert len(found['b']['segments_info']) == 4
    assert {s['category_id'] for s in found['a']['segments_info']} == {26}


def test_other_results_are_not_replaced(place, tiny_model):
    draw('a.png', 'other/a.png')
    predict(tiny_model, 'a.png')
    with pytest.raises(ValueError, match=r'holds the results of .*/a\.png, which has the name a'):
        predict(tiny_model, 'other/a.png')
    with pytest.raises(ValueError, match=r'prediction of another model, tiny .* there and city'):
        predict(None, 'a.png')
    Path('video.d').mkdir()
    draw('video.d/0.png')
    with pytest.raises(ValueError, match='another tracking, off there and on here'):
        predict(tiny_model, 'video.d', track=True)
    assert list(results()) == ['a']


def test_tracks_last_through_a_video(place, tiny_model):
    draw_video('ball.avi')
    assert predict(tiny_model, 'ball.avi', track=True) == []
    found = results()
    assert list(found) == [f'ball.avi/{index:06d}' for index in range(4)]
    balls = [
        next(s for s in entry['segments_info'] if s['category_id'] == 24)
        for entry in found.values()
    ]
    assert [ball['track_id'] for ball in balls] == [1] * 4
    assert len({ball['id'] for ball in balls}) == 1
    assert balls[0]['bbox'][0] < balls[3]['bbox'][0]
    video = cv2.VideoCapture('out/overlays/ball.mp4')
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 4


def test_a_folder_is_tracked_like_a_video(place, tiny_model):
    draw('drive/1.png', 'drive/2.png')
    Path('drive/3.png').write_text('damaged')
    (error,) = predict(tiny_model, 'drive', track=True)
    assert 'drive/3.png' in str(error)
    assert list(results()) == ['drive/1', 'drive/2']
    assert Path('out/overlays/drive.mp4').is_file()


def test_videos_and_folders_of_one_name_have_results_of_their_own(place, tiny_model):
    draw('ball/000000.jpg', 'ball/000001.jpg', '000000.jpg')
    draw_video('ball.avi', frames=2)
    draw_video('ball.mkv', frames=2)
    predict(tiny_model, ['ball.avi', 'ball.mkv', 'ball', '000000.jpg'])
    frames = ('ball.avi/000000', 'ball.avi/000001', 'ball.mkv/000000', 'ball.mkv/000001')
    assert set(results()) == {0, 'ball/000000', 'ball/000001', *frames}
    videos = {path.name for path in Path('out/overlays').glob('*.mp4')}
    assert videos == {'ball.mp4', 'ball_mkv.mp4'}


def test_frames_of_one_stem_have_results_of_their_own(place, tiny_model):
    draw('v1.2/1.jpg', 'v1.2/1.png', 'v1.2/2.png')
    predict(tiny_model, 'v1.2', track=True)
    assert list(results()) == ['v1.2/1', 'v1.2/1.png', 'v1.2/2']
    assert Path('out/overlays/v1.2.mp4').is_file()


def test_an_unfinished_video_is_predicted_from_its_start(place, tiny_model):
    draw_video('ball.avi')
    draw('0.png')
    run = open_run(tiny_model, ['0.png', 'ball.avi'])
    with run:
        frames = iter(run)
        assert [next(frames).name for _ in range(3)][-1] == 'ball.avi/000001.jpg'
        del frames
    assert list(results()) == [0]
    with open_run(tiny_model, ['0.png', 'ball.avi']) as run:
        assert (run.count, run.earlier) == (4, 1)
        assert len(list(run)) == 4
    assert len(results()) == 5
    assert not list(Path('out').rglob('.unfinished-*'))


def test_ids_that_last_are_unique_in_an_image():
    rows = np.zeros(6, segment_dtype(0))
    rows['segment_id'] = range(1, 7)
    rows['is_thing'] = [0, 0, 1, 1, 1, 1]
    rows['class_id'] = [2, 2, 0, 0, 1, 1]
    rows['track_id'] = [0, 0, 5, 0, 0, 5]
    frame = PanopticFrame(np.zeros((1, 1), np.uint16), rows, Geometry((1, 1), (1, 1), 1), 0.0)
    expected = [3, LASTING + 2, 261, LASTING + 4, LASTING + 5, LASTING + 6]
    assert lasting_ids(frame).tolist() == expected


def test_predict_takes_files_and_arrays(place, tiny_model):
    draw('photos/2.png', 'photos/10.png')
    model = panoptic_ros.load(tiny_model)
    found = list(panoptic_ros.predict(['photos', SCENE, Path('photos/2.png')], model))
    assert [prediction.name for prediction in found] == ['2.png', '10.png', '', '2.png']
    assert {prediction.describe() for prediction in found} == {'1 ball, 1 box, floor, wall'}
    (single,) = panoptic_ros.predict(SCENE, tiny_model)
    assert single.overlay().shape == SCENE.shape
    tracked = panoptic_ros.predict(draw_video('ball.avi'), tiny_model, track=True)
    assert [frame.frame.segments['track_id'].max() for frame in tracked] == [1] * 4
    with pytest.raises(ValueError, match='Tracker'):
        next(panoptic_ros.predict(SCENE, model, track=True))
    with pytest.raises(TypeError, match='expects an image'):
        next(panoptic_ros.predict([None], model))


def test_the_log_is_not_read_into_memory(place, tiny_model):
    """The JSON file of many images is written line by line."""
    import tracemalloc

    predict(tiny_model, draw('a.png'))
    log = Path('out/.progress/images.jsonl')
    record = json.loads(log.read_text())
    with log.open('w') as file:
        for index in range(3000):
            image = record['image'] | {'id': index, 'file_name': f'{index}.png'}
            annotation = record['annotation'] | {'image_id': index}
            more = {'name': f'{index}.png', 'out': str(index)}
            file.write(
                json.dumps(record | more | {'image': image, 'annotation': annotation}) + '\n'
            )
    with open_run(tiny_model, ['a.png']):
        tracemalloc.start()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = Path('out/predictions.json').stat().st_size
    assert len(read_json(Path('out/predictions.json'))['annotations']) == 3000
    assert peak < size / 4
