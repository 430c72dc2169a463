# SPDX-License-Identifier: Apache-2.0
"""Scalings of probabilities: their formula, inverse and table."""

import math

import numpy as np
import pytest

from panoptic_ros.core.calibration import MEAN_PROB, confidence_table, inverse, scale
from panoptic_ros.core.model_info import SHIFTS, TEMPERATURES, Scaling

SCALINGS = [Scaling(t, s) for t in (*TEMPERATURES, 1.0) for s in (*SHIFTS, 0.0, -1.5)]


@pytest.mark.parametrize('scaling', SCALINGS)
def test_a_scaling_is_linear_in_the_log_odds(scaling):
    for prob in (0.001, 0.3, 0.5, 0.9, 0.9999):
        odds = math.log(prob / (1 - prob)) / scaling.temperature + scaling.shift
        assert scale(prob, scaling) == pytest.approx(1 / (1 + math.exp(-odds)), rel=1e-9)
    assert scale(np.array([-0.01, 0, 1, 1.01]), scaling).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize('scaling', SCALINGS)
def test_a_scaling_keeps_the_order_and_can_be_undone_in_single_precision(scaling):
    prob = np.linspace(0.02, 0.98, 97, dtype=np.float32)
    found = scale(prob, scaling)
    assert found.dtype == np.float32 and (np.diff(found) >= 0).all()
    assert (np.diff(confidence_table(scaling).astype(int)) >= 0).all()
    exact = scale(prob.astype(float), scaling)
    np.testing.assert_allclose(scale(exact, inverse(scaling)), prob, rtol=1e-5)


def test_a_table_without_a_scaling_changes_nothing():
    assert confidence_table(Scaling()).tolist() == list(range(256))


@pytest.mark.parametrize('scaling', SCALINGS)
def test_a_table_holds_the_confidence_of_the_mean_probability(scaling):
    table = confidence_table(scaling)
    assert table[0] == 0 and table[1:].min() >= 1  # void alone is 0
    inner = (table > 1) & (table < 255)
    assert (np.abs(table / 256 - scale(MEAN_PROB, scaling))[inner] <= 1 / 256).all()
