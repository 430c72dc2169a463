# SPDX-License-Identifier: Apache-2.0
"""SOGNet's figure: predicted and true relations beside the numbered instances."""

import numpy as np
import pytest
import torch
from figure_views import make_view, sample, shows, small_model

from panoptic_training.data.sample import HIDDEN_LAYERS, Sample
from panoptic_training.figures import sognet
from panoptic_training.figures.figure import Choice, NotDrawnError
from panoptic_training.figures.sognet import PANEL_WIDTH, draw_relations, numbered, relations_of


class Told(torch.nn.Module):
    """Relation module that returns given values for the first instances and 0 for the others."""

    def __init__(self, value):
        super().__init__()
        self.value = torch.tensor(value)

    def forward(self, box, thing, mask):
        known = min(len(box), len(self.value))
        relation = torch.zeros(len(box), len(box))
        relation[:known, :known] = self.value[:known, :known]
        return relation


OF_SAMPLE = [[0.0, 0.2, 0.0], [0.9, 0.0, 0.0], [0.0, 0.0, 0.0]]
"""Of the instances 1 to 3: the box (2) is covered by the ball (1), the other ball is apart."""


def make(relation=OF_SAMPLE, **config):
    model = small_model('sognet', overlap_of='mask', deformable=False, **config)
    if model.relation is not None:
        model.relation = Told(relation)
    return model


def test_relations_are_those_of_the_true_instances_that_overlap():
    model = make()
    found = relations_of(model, make_view(model))
    assert found.ids.tolist() == [1, 2] and found.class_id.tolist() == [2, 3]
    np.testing.assert_allclose(found.predicted, [[0, 0.2], [0.9, 0]], atol=1e-6)
    assert found.truth.tolist() == [[0, 0], [1, 0]]


def test_the_truth_equals_a_slow_reference_and_the_largest_instances_are_shown(monkeypatch):
    rng = np.random.default_rng(1)
    size = (96, 176)
    order = rng.permutation(8) + 1  # the last one lies on top
    whole = np.zeros((9, *size), bool)
    layers = np.zeros((1 + HIDDEN_LAYERS, *size), np.int32)  # the visible one first
    for i in order:
        y, x = int(rng.integers(0, 60)), int(rng.integers(0, 130))
        box = (slice(y, y + 30), slice(x, x + 40))
        layers[(slice(1, None), *box)] = layers[(slice(None, -1), *box)]
        layers[(0, *box)] = i
    visible, hidden = layers[0], layers[1:]
    for i in order:
        whole[i] = (layers == i).any(axis=0)
    class_map = np.where(visible > 0, 2, 0).astype(np.uint8)
    image = np.zeros((*size, 3), np.uint8)
    model = make(np.zeros((8, 8), np.float32).tolist())
    view = make_view(model, Sample(image, class_map, visible, hidden))
    found = relations_of(model, view)
    assert len(found.ids) > 4, 'else the test says nothing'
    for row, i in enumerate(found.ids):
        for column, j in enumerate(found.ids):
            shared = whole[i] & whole[j]
            enough = shared.sum() >= 0.1 * min(whole[i].sum(), whole[j].sum())
            above = (shared & (visible == j)).sum() > (shared & (visible == i)).sum()
            assert found.truth[row, column] == (i != j and enough and above)
    monkeypatch.setattr(sognet, 'MAX_INSTANCES', 3)
    few = relations_of(model, view)
    areas = {i: int((visible == i).sum()) for i in found.ids}
    assert sorted(areas[i] for i in few.ids) == sorted(areas.values())[-3:]
    at = [found.ids.tolist().index(i) for i in few.ids]
    assert (few.truth == found.truth[at][:, at]).all()


def test_the_figure_shows_instances_and_both_matrices():
    pytest.importorskip('matplotlib')
    from panoptic_training.figures.plots import matrix_panel

    model = make()
    view = make_view(model)
    found = relations_of(model, view)
    picture = draw_relations(model, [view], Choice())
    size, names = view.panel_size(PANEL_WIDTH), ['1 ball', '2 box']
    assert shows(picture, numbered(view, found))
    assert shows(picture, matrix_panel(size, found.predicted, names))
    assert shows(picture, matrix_panel(size, found.truth, names))
    drawn, plain = numbered(view, found), view.picture(PANEL_WIDTH)
    changed = (drawn != plain).any(axis=-1)
    scale = PANEL_WIDTH / 176
    assert changed[round(70 * scale), round(40 * scale)]  # ball 1
    assert not changed[round(10 * scale), round(155 * scale)]  # ball 3, which is apart


def test_without_overlap_or_relations_there_is_no_figure():
    model = make()
    one = sample()
    apart = Sample(one.image, one.class_map, np.where(one.instance_map == 2, 0, one.instance_map))
    with pytest.raises(NotDrawnError, match='no two instances overlap'):
        draw_relations(model, [make_view(model, apart)], Choice())
    without = small_model('sognet', relation=False)
    with pytest.raises(NotDrawnError, match='no relations'):
        draw_relations(without, [make_view(without)], Choice())
