# SPDX-License-Identifier: Apache-2.0
"""PISR's figures: class maps with centres, encodings, heatmaps without and with the block."""

import numpy as np
import pytest
import torch
from figure_views import make_view, shows, small_model

from panoptic_ros.models.panoptic_deeplab.network import PanopticDeepLab
from panoptic_ros.models.pisr.block import instance_encodings, semantic_encodings
from panoptic_training.evaluation.map_pictures import heat_picture
from panoptic_training.evaluation.pisr_pictures import debug_maps
from panoptic_training.figures.figure import Choice, NotDrawnError
from panoptic_training.figures.pisr import (
    MIN_HEAT,
    NARROW_WIDTH,
    PANEL_WIDTH,
    TSNE_WIDTH,
    draw_centers,
    draw_classes,
    draw_encodings,
    encodings_of,
    heads_of,
    largest_thing_class,
    numbered_heat,
    put_centers,
)


@pytest.fixture(scope='module', params=['pisr', 'pisr_panoptic_fpn', 'pisr_upernet'])
def any_model(request):
    return small_model(request.param)


@pytest.fixture(scope='module')
def model():
    return small_model('pisr')


@pytest.fixture(scope='module')
def view(model):
    return make_view(model)


def test_encodings_are_those_of_the_block_before_and_after_the_weighting(any_model):
    view = make_view(any_model)
    found = encodings_of(any_model, view)
    assert found.classes > 0 and len(found.heatmaps) > 0, 'else the test says nothing'
    with torch.no_grad():
        maps = any_model.maps(view.batch(any_model))
        initial, heat = maps.initial, maps.heatmaps
        features = initial.feature if any_model.family == 'pisr' else maps.features
        semantic = semantic_encodings(features, initial.semantic_logits)
        instance = instance_encodings(features, heat) * maps.alive[:, :, None]
        weighted = any_model.block.reweight(semantic, instance)[0].numpy()
    best = initial.semantic_logits[0].argmax(dim=0).unique().tolist()
    assert found.class_id[: found.classes].tolist() == best
    rows = best.copy()
    for k, one in enumerate(heat[0].numpy()):
        shown = one[:16, : found.heatmaps.shape[2]]
        if any(np.array_equal(shown, h) for h in found.heatmaps) and maps.alive[0, k]:
            rows.append(len(any_model.labels) + k)
            assert one.max() >= MIN_HEAT
    assert len(rows) == len(found.class_id)
    before = torch.cat([semantic, instance], dim=1)[0].numpy()
    np.testing.assert_allclose(found.before, before[rows], atol=1e-5)
    np.testing.assert_allclose(found.after, weighted[rows], atol=1e-5)

    prob = initial.semantic_logits[0].softmax(dim=0).numpy()
    for row, class_id in zip(rows[found.classes :], found.class_id[found.classes :], strict=True):
        weight = heat[0, row - len(any_model.labels)].numpy()
        share = {c: float((prob[c] * weight).sum()) for c in (2, 3)}
        assert class_id == max(share, key=share.__getitem__)


def test_only_centres_that_decoding_keeps_have_an_encoding(model, view):
    assert len(encodings_of(model, view).heatmaps) > 0
    unsure = small_model('pisr')
    with torch.no_grad():
        unsure.initial.center.out.bias -= 100
    assert len(encodings_of(unsure, make_view(unsure)).heatmaps) == 0


def test_the_figure_of_encodings_shows_the_numbered_instances(any_model):
    pytest.importorskip('sklearn')
    pytest.importorskip('matplotlib')
    view = make_view(any_model)
    picture = draw_encodings(any_model, [view], Choice())
    assert shows(picture, view.prediction(TSNE_WIDTH))
    heat = encodings_of(any_model, view).heatmaps
    assert shows(picture, numbered_heat(view, heat))
    assert picture.shape[0] > 3 * view.panel_size(TSNE_WIDTH)[0]


def test_heads_before_and_after_the_block(model, view):
    with torch.no_grad():
        maps = model.maps(view.batch(model))
        segments = [
            PanopticDeepLab.decode(model, one, **model.default_thresholds())
            for one in (maps.initial, maps.final)
        ]
    found = heads_of(model, view)
    heights = maps.final.center_heatmap[0, 0, :16, :30].numpy()
    y, x = np.unravel_index(heights.argmax(), heights.shape)
    centre = np.array([4 * y + 2, 4 * x + 2])
    for one, decoded, (own, centers, instances) in zip(
        (maps.initial, maps.final), segments, found, strict=True
    ):
        assert torch.equal(own.segment_map, decoded.segment_map)
        expected = one.center_heatmap[0, 0, :16, :30].numpy().clip(0, 1)
        np.testing.assert_allclose(centers, expected, atol=1e-6)
        offset = one.center_offset[0].numpy()
        best = one.semantic_logits[0].argmax(dim=0).numpy()
        for v, u in ((0, 0), (y, x), (7, 20), (15, 29)):
            place = np.array([4 * v + 2, 4 * u + 2]) + offset[:, v, u]
            heat = np.exp(-((place - centre) ** 2).sum() / (2 * model.config.tau**2))
            heat *= model.labels.is_thing[best[v, u]]
            assert instances[0][v, u] == pytest.approx(heat, abs=1e-5)
    picture = draw_centers(model, [view], Choice())
    for segments_of, centers, instances in found:
        assert shows(picture, view.prediction(NARROW_WIDTH, view.frame_of(segments_of)))
        for heat in (centers, *instances):
            assert shows(picture, heat_picture(view.picture(NARROW_WIDTH), heat, 0.7))


def test_centres_lie_over_the_map_of_the_chosen_class(model, view):
    picture = draw_classes(model, [view], Choice(class_id=3))
    maps = debug_maps(model, view.pixels, 3)
    for class_map, centers in (
        (maps.class_before, maps.centers_before),
        (maps.class_after, maps.centers_after),
    ):
        heat = heat_picture(view.picture(PANEL_WIDTH), class_map[:16, :30], 0.7)
        assert shows(picture, put_centers(heat, centers[:16, :30], heat.shape[:2]))
    grey = np.full((4, 6, 3), 200, np.uint8)
    centers = np.zeros((4, 6), np.float32)
    centers[1, 2], centers[3, 5] = 1, 0.5
    mixed = put_centers(grey, centers, (4, 6))
    assert mixed[1, 2].tolist() == [150, 0, 0] and mixed[0, 0].tolist() == [200] * 3
    assert mixed[3, 5].tolist() == pytest.approx([175, 100, 100], abs=1)


def test_the_default_class_is_that_of_the_largest_thing(model, view):
    things = view.frame.segments[view.frame.segments['is_thing'] == 1]
    largest = int(things['class_id'][things['area'].argmax()])
    assert largest_thing_class(view) == largest
    expected = draw_classes(model, [view], Choice(class_id=largest))
    assert (draw_classes(model, [view], Choice()) == expected).all()


def test_a_model_without_a_block_has_no_figures():
    model = small_model('pisr', enabled=False)
    view = make_view(model)
    for draw in (draw_centers, draw_classes, draw_encodings):
        with pytest.raises(NotDrawnError, match='enabled: false'):
            draw(model, [view], Choice())
