# SPDX-License-Identifier: Apache-2.0
"""Legends, and the names of classes in pictures."""

import numpy as np
import pytest

from panoptic_ros.core.captions import TextStyle
from panoptic_ros.core.labels import Label, LabelSet
from panoptic_ros.core.legend import class_name, draw_legend, fit_legend


def test_a_name_that_the_font_lacks_is_a_number():
    labels = LabelSet((Label('Bürgersteig', False, (1, 2, 3), 1), Label('車', True, (1, 2, 3), 2)))
    assert [class_name(labels, i) for i in (0, 1)] == ['Burgersteig', 'class 1']


def test_a_legend_is_as_wide_as_its_entries_and_wraps():
    labels = LabelSet(tuple(Label(f'name {i}', False, (0, 0, 0), i) for i in range(20)))
    style = TextStyle(8)
    assert draw_legend(labels, [], 300, style).size == 0
    one, all_of_them = (draw_legend(labels, range(n), 300, style) for n in (1, 20))
    assert one.shape[0] == style.line_px and one.shape[1] < 120
    assert all_of_them.shape[0] > 3 * style.line_px and all_of_them.shape[1] <= 300
    for i in range(20):
        assert (all_of_them == labels.colors[i]).all(axis=-1).sum() > 50


@pytest.mark.parametrize('count', [1, 5, 17, 60, 133])
def test_as_many_classes_as_fit_are_in_the_legend(count):
    """The most important ones, ordered by number."""
    labels = LabelSet(
        tuple(Label(f'{"long " * (i % 4)}name {i}', False, (0, 0, 0), i) for i in range(133))
    )
    style, important = TextStyle(8), [int(i) for i in np.random.default_rng(1).permutation(count)]

    def shown_in(legend):
        colors = {tuple(color) for color in legend.reshape(-1, 3).tolist()}
        return [i for i in range(count) if tuple(labels.colors[i].tolist()) in colors]

    for lines in (1, 2, 5):
        legend = fit_legend(labels, important, 400, style, lines * style.line_px + 3)
        assert legend.shape[0] <= lines * style.line_px and legend.shape[1] <= 400
        shown = shown_in(legend)
        assert shown == sorted(important[: len(shown)]) and shown
        # Two more names would at least fill the last line.
        more = draw_legend(labels, sorted(important[: len(shown) + 2]), 400, style)
        assert len(shown) == count or len(more) >= lines * style.line_px
    assert fit_legend(labels, important, 400, style, 3).size == 0
    assert fit_legend(labels, [], 400, style, 100).size == 0
