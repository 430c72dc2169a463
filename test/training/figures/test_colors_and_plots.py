# SPDX-License-Identifier: Apache-2.0
"""Embeddings as colours, t-SNE, and plots as pictures."""

import numpy as np
import pytest

from panoptic_training.figures.embedding_colors import color_limit, dimension_colors, pca_colors
from panoptic_training.figures.plots import matrix_panel, project, scatter_panel


@pytest.mark.parametrize('dim', [1, 2, 5])
def test_pca_colors_are_the_first_components_of_the_flattened_embedding(dim):
    decomposition = pytest.importorskip('sklearn.decomposition')
    embedding = np.random.default_rng(0).normal(size=(dim, 6, 9)).astype(np.float32)
    rows = np.array([embedding[:, y, x] for y in range(6) for x in range(9)])
    parts = decomposition.PCA(min(dim, 3)).fit_transform(rows)
    expected = np.zeros((54, 3))
    low, high = parts.min(axis=0), parts.max(axis=0)
    expected[:, : parts.shape[1]] = 255 * (parts - low) / (high - low)
    colors = pca_colors(embedding)
    assert colors.shape == (6, 9, 3) and colors.dtype == np.uint8
    np.testing.assert_allclose(colors.reshape(54, 3), expected, atol=0.51)


def test_dimensions_are_colors_on_one_scale():
    embedding = np.array([[[-0.5, 0.0, 0.5]], [[0.25, 0.5, -0.25]]], np.float32)
    assert color_limit([embedding, embedding / 2]) == 0.5
    colors = dimension_colors(embedding, 0.5)
    assert colors.tolist() == [[[0, 191, 128], [128, 255, 128], [255, 64, 128]]]


def test_tsne_keeps_clusters_apart_and_gives_the_same_in_each_run():
    pytest.importorskip('sklearn')
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(size=(12, 8)), 20 + rng.normal(size=(12, 8))])
    points = project(rows)
    assert points.shape == (24, 2)
    np.testing.assert_array_equal(points, project(rows))
    distance = np.linalg.norm(points[:, None] - points, axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert ((distance.argmin(axis=1) < 12) == (np.arange(24) < 12)).all()
    with pytest.raises(ValueError, match='at least 4 points, got 3'):
        project(rows[:3])


def test_points_have_their_colors_and_lie_where_they_should():
    pytest.importorskip('matplotlib')
    points = np.array([[0.0, 0.0], [10.0, 10.0]])
    colors = np.array([[255, 0, 0], [0, 0, 255]], np.uint8)
    size = (200, 300)
    picture = scatter_panel(size, points, colors, np.array([False, True]), area=100)
    assert picture.shape == (*size, 3)
    red = np.argwhere((picture == (255, 0, 0)).all(axis=-1)).mean(axis=0)
    blue = np.argwhere((picture == (0, 0, 255)).all(axis=-1)).mean(axis=0)
    assert red[0] > 120 and red[1] < 100  # below and left
    assert blue[0] < 80 and blue[1] > 200
    named = scatter_panel(size, points, colors, np.array([False, True]), ['car', '2'], area=100)
    assert (named != picture).any(axis=-1).sum() > 20


def test_a_matrix_shows_its_values_in_place():
    pytest.importorskip('matplotlib')
    empty = matrix_panel((300, 400), np.zeros((3, 3)), ['1 car', '2 car', '3 person'])
    one = np.zeros((3, 3))
    one[2, 0] = 1
    full = matrix_panel((300, 400), one, ['1 car', '2 car', '3 person'])
    changed = np.argwhere((full != empty).any(axis=-1))
    yellow = full[changed[:, 0], changed[:, 1]]
    assert (yellow[:, 0] > 240).mean() > 0.9 and (yellow[:, 2] < 90).mean() > 0.9
    dark = np.argwhere((empty == empty[150, 200]).all(axis=-1))  # the cells of value 0
    middle = (dark.min(axis=0) + dark.max(axis=0)) / 2
    assert changed.mean(axis=0)[0] > middle[0]  # the last row
    assert changed.mean(axis=0)[1] < middle[1]  # the first column
