# SPDX-License-Identifier: Apache-2.0
"""Evaluation as such: what is scored, in what order, and video clip by clip."""

import json
import math

import numpy as np
import pytest
from tiny_data import SIZE, true_ids
from tiny_model import LABELS

from panoptic_ros.core.files import FolderInUseError
from panoptic_ros.core.image_frame import make_frame
from panoptic_ros.core.label_frame import frame_of_labels
from panoptic_training.data.sample import Sample
from panoptic_training.evaluation.predictions import PredictionStore, open_predictions
from panoptic_training.evaluation.run import Evaluation, cut, open_folder
from panoptic_training.evaluation.worst import faults

CLASSES = {1: 1, 2: 0, 3: 2, 4: 3}


class Reader:
    """Scenes whose things move to the right by `step` pixels an image; two clips of three."""

    labels = LABELS

    def __init__(self, clips=((0, 1, 2), (3, 4, 5)), step=2):
        self.clips, self.step = clips, step
        self.image_ids = self.image_names = [f'{i:03d}' for i in range(6)]

    def __len__(self):
        return 6

    def read(self, index, epoch_seed):
        ids = true_ids(self.step * (index % 3))
        classes = np.array([255, 1, 0, 2, 3], np.uint8)[ids]
        image = np.full((*SIZE, 3), index, np.uint8)
        return Sample(image, classes, np.array([0, 0, 0, 7, 9], np.int32)[ids])


class Model:
    """Sees the truth, and notes which images it was asked for."""

    def __init__(self):
        self.asked = []

    def __call__(self, sample):
        self.asked.append(int(sample.image[0, 0, 0]))
        return frame_of_labels(sample.class_map, sample.instance_map, LABELS)


def run(evaluation, stop_after=None):
    for place, _ in enumerate(evaluation.run(), 1):
        if place == stop_after:
            break
    return evaluation


def test_video_is_followed_clip_by_clip(tmp_path):
    reader, model = Reader(), Model()
    whole = run(Evaluation(reader, model, rate_hz=10))
    video = whole.to_dict()['video']
    assert (video['clips'], video['frames']) == (2, 6)
    assert video['all']['stq'] == video['all']['hota'] == pytest.approx(100)
    assert 'STQ' in whole.format()
    assert model.asked == [0, 1, 2, 3, 4, 5]


def test_an_unfinished_clip_starts_again(tmp_path):
    """So ids are what they are without a stop."""
    reader = Reader()
    run(
        Evaluation(
            reader,
            Model(),
            None,
            PredictionStore(tmp_path, LABELS, reader.image_ids, reader.image_names),
            10,
        ),
        stop_after=5,
    )
    model = Model()
    again = run(
        Evaluation(
            reader,
            model,
            None,
            PredictionStore(tmp_path, LABELS, reader.image_ids, reader.image_names),
            10,
        )
    )
    assert model.asked == [3, 4, 5]
    assert again.to_dict() == run(Evaluation(reader, Model(), rate_hz=10)).to_dict()
    read = open_predictions(tmp_path, LABELS, reader.image_ids, reader.image_names)
    assert run(Evaluation(reader, read)).to_dict() == again.to_dict()
    assert read.read(3, SIZE).segments['track_id'].tolist() == [0, 0, 1, 2]  # anew in a clip


def test_what_cannot_be_tracked_is_told(tmp_path):
    store = PredictionStore(tmp_path, LABELS, Reader().image_ids, Reader().image_names)
    store.write(0, make_frame(np.ones(SIZE, int), {1: 0}, LABELS))
    with pytest.raises(ValueError, match='the predictions have no track ids'):
        Evaluation(Reader(), store, rate_hz=10)
    with pytest.raises(ValueError, match='these are single images'):
        Evaluation(Reader(clips=()), Model(), rate_hz=10)
    assert Evaluation(Reader(clips=()), Model()).video is None


def test_worst_are_in_order():
    reader = Reader(clips=())

    def model(sample):  # the later the image, the further off are the things
        shift = 3 * int(sample.image[0, 0, 0])
        return make_frame(np.roll(true_ids(2 * (shift // 3 % 3)), shift, 1), CLASSES, LABELS)

    evaluation = run(Evaluation(reader, model))
    worst = evaluation.worst(6)
    quality = [image.pq for image in worst]
    assert quality == sorted(quality) and quality[-1] == 100 and worst[-1].index == 0
    assert [image.index for image in evaluation.worst(2)] == [image.index for image in worst[:2]]
    assert faults(worst[0].result)[0].startswith('missed: 1 ') and faults(worst[-1].result) == []
    assert evaluation.scores.panoptic.counts.sum() == sum(
        (image.result.tp + image.result.fp + image.result.fn).sum() for image in evaluation.images
    )


def test_an_image_without_labels_is_not_the_worst():
    class Unlabelled(Reader):
        def read(self, index, epoch_seed):
            return Sample(
                np.zeros((*SIZE, 3), np.uint8),
                np.full(SIZE, 255, np.uint8),
                np.zeros(SIZE, np.int32),
            )

    evaluation = run(
        Evaluation(
            Unlabelled(clips=()), lambda sample: make_frame(true_ids(0), CLASSES, LABELS), limit=1
        )
    )
    assert math.isnan(evaluation.images[0].pq) and evaluation.worst(3) == []
    assert evaluation.to_dict()['all']['pq'] is None


@pytest.mark.parametrize(
    ('limit', 'expected'),
    [
        (None, ((0, 1), (2, 3, 4))),
        (9, ((0, 1), (2, 3, 4))),
        (3, ((0, 1), (2,))),
        (2, ((0, 1),)),
        (1, ((0,),)),
    ],
)
def test_cut(limit, expected):
    assert cut(((0, 1), (2, 3, 4)), limit) == expected


@pytest.mark.parametrize('text', ['{', '[1]', '3'])
def test_a_damaged_folder_is_told(tmp_path, text):
    (tmp_path / 'evaluate.json').write_text(text)
    with pytest.raises(ValueError, match='is damaged'), open_folder(tmp_path, {'model': 'a'}):
        pass


def test_an_evaluation_keeps_others_out_of_its_folder(tmp_path):
    folder, what = tmp_path / 'out', {'model': 'a'}
    with open_folder(folder, what):
        with (
            pytest.raises(FolderInUseError, match='in use by another evaluation'),
            open_folder(folder, what),
        ):
            pass
        assert json.loads((folder / 'evaluate.json').read_text()) == what
    with open_folder(folder, what):  # resumed
        pass
    with (
        pytest.raises(ValueError, match='the evaluation of another model, a there and b here'),
        open_folder(folder, {'model': 'b'}),
    ):
        pass


def test_a_folder_of_something_else_is_left_as_it_is(tmp_path):
    (tmp_path / 'photo.jpg').touch()
    with (
        pytest.raises(ValueError, match='not empty and not of an evaluation'),
        open_folder(tmp_path, {'model': 'a'}),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ['photo.jpg']


def test_what_a_killed_start_left_is_no_hindrance(tmp_path):
    for name in ('.lock', '.unfinished-evaluate.json'):
        (tmp_path / name).touch()
    with open_folder(tmp_path, {'model': 'a'}):
        assert sorted(path.name for path in tmp_path.iterdir()) == ['.lock', 'evaluate.json']
