# SPDX-License-Identifier: Apache-2.0
"""EINet's figures: embeddings without and with the interaction, and heatmaps of centres."""

import numpy as np
import pytest
import torch
from figure_views import make_view, shows, small_model

from panoptic_ros.core.labels import VOID_ID
from panoptic_training.evaluation.map_pictures import heat_picture
from panoptic_training.figures.einet import (
    MAX_PIXELS,
    PANEL_WIDTH,
    PIXELS_PER_SEGMENT,
    center_heatmap,
    draw_embeddings,
    draw_heatmaps,
    embeddings_of,
    sample_places,
)
from panoptic_training.figures.figure import Choice, NotDrawnError


def make(interaction):
    model = small_model('einet', interaction=interaction)
    if 's2i' in interaction or interaction == 'both':
        model.dictionary.normal_(generator=torch.Generator().manual_seed(0))
    return model


@pytest.mark.parametrize('interaction', ['s2i', 'i2s', 'both'])
def test_with_the_interaction_is_what_the_heads_see(interaction):
    model = make(interaction)
    view = make_view(model)
    seen = []
    hook = model.predict.register_forward_pre_hook(lambda _, given: seen.extend(given))
    with torch.no_grad():
        model.maps(view.batch(model))
        before = model.embeddings(view.batch(model))
    hook.remove()
    found = embeddings_of(model, view)
    for (without, enhanced), raw, of_heads in zip(found, before, seen, strict=True):
        height, width = without.shape[1:]
        np.testing.assert_allclose(without, raw[0, :, :height, :width], atol=1e-6)
        np.testing.assert_allclose(enhanced, of_heads[0, :, :height, :width], atol=1e-6)
    changed = [not np.array_equal(*pair) for pair in found]
    assert changed == [interaction != 's2i', interaction != 'i2s']


def test_places_are_labelled_balanced_and_always_the_same():
    class_map = np.zeros((40, 50), np.uint8)
    class_map[:10], class_map[20:30] = VOID_ID, 2
    instance_map = np.zeros((40, 50), np.int32)
    instance_map[20:30, :25], instance_map[20:30, 25:27] = 1, 300
    instance_map[20:30, 27:] = 3
    places = sample_places(class_map, instance_map)
    np.testing.assert_array_equal(places, sample_places(class_map, instance_map))
    assert len(set(places.tolist())) == len(places) <= MAX_PIXELS
    ids = instance_map.ravel()[places]
    classes = class_map.ravel()[places]
    assert (classes != VOID_ID).all()
    counts = {i: int((ids == i).sum()) for i in (0, 1, 3, 300)}
    assert counts == {0: PIXELS_PER_SEGMENT, 1: PIXELS_PER_SEGMENT, 3: PIXELS_PER_SEGMENT, 300: 20}
    assert not len(sample_places(np.full((4, 4), VOID_ID), np.zeros((4, 4), int)))


def test_the_heatmap_is_the_highest_of_all_classes():
    model = make('both')
    view = make_view(model)
    with torch.no_grad():
        maps = model.maps(view.batch(model)).center_heatmap[0].numpy()
    heat = center_heatmap(model, view)
    assert heat.shape == (16, 30) and maps.shape[0] == 2
    for y, x in np.ndindex(heat.shape):
        assert heat[y, x] == pytest.approx(min(max(*maps[:, y, x], 0), 1), abs=1e-6)
    picture = draw_heatmaps(model, [view], Choice())
    assert shows(picture, heat_picture(view.picture(PANEL_WIDTH), heat, 0.7))
    assert shows(picture, view.prediction(PANEL_WIDTH))


def test_the_figure_has_a_row_for_both_embeddings(monkeypatch):
    pytest.importorskip('sklearn')
    pytest.importorskip('matplotlib')
    monkeypatch.setattr('panoptic_training.figures.einet.PIXELS_PER_SEGMENT', 8)
    model = make('both')
    view = make_view(model)
    picture = draw_embeddings(model, [view], Choice())
    assert shows(picture, view.truth(PANEL_WIDTH))
    height = view.panel_size(PANEL_WIDTH)[0]
    assert picture.shape[0] > 3 * height and picture.shape[1] == 2 * PANEL_WIDTH
    floor, ball = (view.labels.colors[i] for i in (0, 2))
    plots = picture[-2 * height :]
    assert (plots == floor).all(axis=-1).any() and (plots == ball).all(axis=-1).any()


def test_a_model_without_interaction_has_no_such_figure():
    model = make('none')
    with pytest.raises(NotDrawnError, match='interaction: none'):
        draw_embeddings(model, [make_view(model)], Choice())
