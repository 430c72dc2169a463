# SPDX-License-Identifier: Apache-2.0
"""Pictures of predictions next to the ground truth, as TensorBoard receives them."""

from types import SimpleNamespace

import numpy as np
import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from tiny_model import LABELS

from panoptic_ros.core.captions import DARK, style_for
from panoptic_ros.core.frame import Geometry, PanopticFrame, segment_dtype
from panoptic_ros.core.labels import VOID_ID
from panoptic_ros.core.overlay import ALPHA
from panoptic_ros.models.registry import FAMILIES, build
from panoptic_training.data.sample import Sample
from panoptic_training.evaluation.panels import draw_panels, stack_panels
from panoptic_training.trainer.pictures import PANEL_WIDTH, Pictures

FLOOR, WALL, BALL, BOX = range(4)
GREY = 90


def scene() -> tuple[Sample, PanopticFrame]:
    """Floor and void as labels; a wall is predicted at half the resolution."""
    class_map = np.full((40, 60), FLOOR, np.uint8)
    class_map[:, :10] = VOID_ID
    sample = Sample(np.full((40, 60, 3), GREY, np.uint8), class_map, np.zeros((40, 60), np.int32))
    segments = np.zeros(1, segment_dtype(2))
    segments['segment_id'], segments['class_id'] = 3, WALL
    frame = PanopticFrame(
        np.full((20, 30), 3, np.uint16), segments, Geometry((40, 60), (40, 60), stride=2), 0.0
    )
    return sample, frame


def mixed(class_id):
    return (1 - ALPHA) * GREY + ALPHA * LABELS.colors[class_id]


def test_a_panel_shows_image_ground_truth_and_prediction_with_captions():
    sample, frame = scene()
    line = style_for(400, 600).line_px
    picture = draw_panels(sample, frame, LABELS, 300, 'a title')
    assert picture.shape == (3 * line + 200, 900, 3)  # title, captions, pictures, legend
    y = 2 * line + 4
    assert (picture[y, :300] == GREY).all()
    assert (picture[y, 310:340] == GREY).all(), 'void'
    np.testing.assert_allclose(picture[y, 380], mixed(FLOOR), atol=1)
    np.testing.assert_allclose(picture[y, 640], mixed(WALL), atol=1)
    for x in (0, 300, 600):  # each panel has a caption
        caption = picture[line : 2 * line, x : x + 300]
        assert (caption > 150).all(axis=-1).sum() > 20 and (caption[0] == DARK).all()
    legend = picture[2 * line + 200 :].reshape(-1, 3).tolist()
    for class_id, is_shown in ((FLOOR, True), (WALL, True), (BALL, False)):
        assert (LABELS.colors[class_id].tolist() in legend) == is_shown


def test_a_title_that_is_too_long_continues_on_the_next_line():
    one = np.zeros((90, 160, 3), np.uint8)
    short, long = (stack_panels([{'image': one}], text) for text in ('word', 'word ' * 50))
    assert len(long) > len(short) + 5 * style_for(180, 320).line_px
    assert long.shape[1] == short.shape[1] == 160


@pytest.mark.parametrize('own_colors', [False, True])
def test_tensorboard_receives_the_first_images(own_colors):
    written = {}

    class Logger(TensorBoardLogger):
        def __init__(self):
            pass

        @property
        def experiment(self):
            return SimpleNamespace(
                add_image=lambda tag, picture, step, dataformats: written.update({tag: picture})
            )

    trainer = SimpleNamespace(logger=Logger(), global_step=7)
    model = build('panoptic_deeplab', LABELS, **FAMILIES['panoptic_deeplab'].small).eval()
    predictor = SimpleNamespace(prepare=lambda image: (np.zeros((64, 128, 3), np.uint8), None))
    module = SimpleNamespace(labels=LABELS, model=model, predictor=predictor)
    sample, frame = scene()
    for index in range(3):
        Pictures(2, own_colors).on_validation_batch_end(trainer, module, frame, sample, index)
    assert sorted(written) == ['maps/0', 'maps/1', 'val/0', 'val/1']
    assert written['maps/0'].shape[1] == 4 * PANEL_WIDTH
    picture = written['val/0']
    assert picture.shape[1] == 3 * PANEL_WIDTH
    own = (picture == LABELS.labels[FLOOR].color).all(axis=-1)
    assert own.any() == own_colors
