# SPDX-License-Identifier: Apache-2.0
"""PISR's debug maps and their pictures."""

import numpy as np
import pytest
import torch
from center_models import SIZE, lively
from color_vision import VISIONS, lab
from graphs import random_image

from panoptic_ros.core.captions import style_for
from panoptic_training.evaluation.map_pictures import heat_picture
from panoptic_training.evaluation.pisr_pictures import PANEL_WIDTH, debug_maps, debug_panel


@pytest.fixture(scope='module')
def model():
    return lively('pisr', block_channels=16, num_encodings=6)


def test_debug_maps_are_those_of_the_appendix(model):
    picture = random_image(SIZE, seed=5)
    with torch.no_grad():
        maps = model.maps(torch.from_numpy(picture).permute(2, 0, 1)[None])
    class_id = int(maps.final.semantic_logits[0].argmax(dim=0).flatten().mode().values)
    debug = debug_maps(model, picture, class_id, blur=0.01)  # hardly any
    logits = maps.final.semantic_logits[0, class_id].numpy()
    np.testing.assert_allclose(
        debug.class_after, (logits - logits.min()) / (logits.max() - logits.min()), atol=1e-6
    )
    assert (debug.class_before.min(), debug.class_before.max()) == (0, 1)

    heatmap = maps.final.center_heatmap[0, 0].numpy()
    own = maps.final.semantic_logits[0].argmax(dim=0).numpy() == class_id
    for y, x in np.argwhere(debug.centers_after > 1e-6).tolist():
        around = heatmap[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
        assert heatmap[y, x] == around.max() > 0
        assert own[y, x]
    assert debug.centers_after.max() == 1
    assert debug.instances.shape[1:] == heatmap.shape
    assert 1 <= len(debug.instances) <= 6


def test_the_panel_shows_before_after_and_instances_with_captions(model):
    picture = random_image(SIZE, seed=5)
    panel = debug_panel(picture, debug_maps(model, picture, 2), 'ball', 'image 7')
    height = round(SIZE[0] * PANEL_WIDTH / SIZE[1])
    line = style_for(2 * height, 2 * PANEL_WIDTH).line_px
    assert panel.shape == (3 * line + 2 * height, 4 * PANEL_WIDTH, 3)
    assert panel.dtype == np.uint8
    for x in range(4):
        caption = panel[line : 2 * line, x * PANEL_WIDTH : (x + 1) * PANEL_WIDTH]
        assert (caption > 150).all(axis=-1).sum() > 20


def test_heat_rises_in_brightness_from_blue_to_yellow():
    heat = np.linspace(0, 1, 11)[None]
    colors = heat_picture(np.zeros((1, 11, 3), np.uint8), heat, opacity=1.0)[0]
    assert colors[0, 2] > colors[0, 0] and colors[-1, 0] > colors[-1, 2]
    for vision in VISIONS.values():
        assert (np.diff(lab(colors, vision)[:, 0]) > 3).all()


def test_what_there_is_not_is_refused(model):
    picture = random_image(SIZE)
    with pytest.raises(ValueError, match='class_id must lie in 0 to 3, got 4'):
        debug_maps(model, picture, 4)
    with pytest.raises(ValueError, match='enabled: true'):
        debug_maps(lively('pisr', enabled=False), picture, 0)
