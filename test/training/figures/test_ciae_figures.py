# SPDX-License-Identifier: Apache-2.0
"""CIAE's figures: proposals, principal components, similarity to queries."""

import numpy as np
import pytest
import torch
from figure_views import make_view, shows, small_model

from panoptic_training.evaluation.map_pictures import heat_picture
from panoptic_training.figures.ciae import (
    PANEL_WIDTH,
    chosen_queries,
    draw_queries,
    draw_steps,
    embedding_picture,
    parts_of,
    proposals_picture,
    similarity,
)
from panoptic_training.figures.figure import Choice

pytest.importorskip('sklearn')


@pytest.fixture(scope='module')
def model():
    """Return a model whose first memory is like the embedding of a corner: it finds stuff too."""
    model = small_model('ciae', min_area=0.0, min_stuff_area=0.0)
    model.memory[0] = torch.from_numpy(parts_of(model, make_view(model)).embedding[:, -1, -1])
    return model


@pytest.fixture(scope='module')
def view(model):
    return make_view(model)


def test_the_parts_are_those_of_decoding(model, view):
    parts = parts_of(model, view)
    assert parts.proposals.keep.sum() > 2, 'else the test says nothing'
    np.testing.assert_allclose(np.linalg.norm(parts.embedding, axis=0), 1, atol=1e-5)
    with torch.no_grad():
        segments = model(torch.from_numpy(view.pixels), **model.default_thresholds())
    rows = len(parts.proposals.score)
    np.testing.assert_allclose(segments.score[:rows], parts.proposals.score, atol=1e-6)
    np.testing.assert_allclose(segments.embedding[:rows], parts.proposals.query, atol=1e-5)


def test_similarity_is_the_cosine(model, view):
    parts = parts_of(model, view)
    names, queries = zip(*chosen_queries(model, view, parts), strict=True)
    assert names[0].startswith('proposal 1, ') and names[-1].startswith('the memory of ')
    found = similarity(parts.embedding, queries[0])
    for y, x in ((0, 0), (3, 7), (20, 30)):
        expected = sum(a * b for a, b in zip(parts.embedding[:, y, x], queries[0], strict=True))
        assert found[y, x] == pytest.approx(expected, abs=1e-5)
    assert found.max() == pytest.approx(1, abs=1e-4)  # at the place that proposed it
    memory = model.memory[: model.num_stuff].numpy()
    assert any(np.allclose(queries[-1], row / np.linalg.norm(row), atol=1e-5) for row in memory)


def test_both_figures_show_embedding_proposals_and_segments(model, view):
    parts = parts_of(model, view)
    embedding = embedding_picture(view, parts.embedding)
    for draw in (draw_queries, draw_steps):
        picture = draw(model, [view], Choice())
        assert shows(picture, embedding)
        assert shows(picture, proposals_picture(view, parts.proposals))
        assert shows(picture, view.prediction(PANEL_WIDTH))
    assert shows(picture, view.truth(PANEL_WIDTH))
    for _, query in chosen_queries(model, view, parts):
        heat = heat_picture(view.picture(PANEL_WIDTH), similarity(parts.embedding, query), 0.85)
        assert shows(draw_queries(model, [view], Choice()), heat)


def test_only_kept_proposals_are_drawn_at_their_boxes(model, view):
    proposals = parts_of(model, view).proposals
    one = torch.zeros_like(proposals.keep)
    one[0] = True
    box = torch.tensor([[16.0, 24.0, 80.0, 56.0]]).expand_as(proposals.box)
    drawn = proposals_picture(view, proposals._replace(keep=one, box=box))
    plain = view.picture(PANEL_WIDTH)
    assert (proposals_picture(view, proposals._replace(keep=one & False)) == plain).all()
    changed = np.argwhere((drawn != plain).any(axis=-1))
    scale = PANEL_WIDTH / view.frame.geometry.content_size[1]
    assert changed[:, 0].max() == pytest.approx(56 * scale, abs=3)
    assert changed[:, 1].min() == pytest.approx(16 * scale, abs=3)
    color = view.labels.colors[int(proposals.class_id[0])]
    middle_of_edge = drawn[round(40 * scale), round(80 * scale)]
    assert (middle_of_edge == color).all()
