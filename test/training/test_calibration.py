# SPDX-License-Identifier: Apache-2.0
"""Calibration error against a slow reference, and fits of planted scalings."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import LABELS, paint_scene

from panoptic_ros.core.calibration import inverse, scale
from panoptic_ros.core.model_info import SHIFTS, TEMPERATURES, Scaling
from panoptic_ros.runtime.load import load
from panoptic_training.calibration import (
    BINS,
    Observations,
    Outcomes,
    bins_of,
    fit_all,
    fit_confidence,
    fit_scaling,
    fit_score,
)
from panoptic_training.data.sample import Sample


def slow_error(prob, right):
    """Guo et al. 2017, equation 3, one prediction at a time."""
    total = 0.0
    for b in range(BINS):
        inside = [
            i
            for i, p in enumerate(prob)
            if b / BINS <= p and (p < (b + 1) / BINS or b == BINS - 1)
        ]
        if inside:
            mean = sum(prob[i] for i in inside) / len(inside)
            accuracy = sum(right[i] for i in inside) / len(inside)
            total += len(inside) * abs(accuracy - mean)
    return total / len(prob)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_the_error_is_that_of_the_paper(predictions):
    prob, right = (np.array(x, float) for x in zip(*predictions, strict=True))
    # Probabilities next to an edge may fall to either side of it by rounding.
    prob = np.round(prob * 1000) / 1000 + 1e-5 * (prob < 0.5)
    prob = np.clip(prob, 0, 1)
    found = bins_of(Outcomes(prob, np.ones(len(prob)), right))
    assert found.error == pytest.approx(slow_error(prob.tolist(), right.tolist()), abs=1e-9)
    assert found.number.sum() == len(prob)


def test_equal_probabilities_may_be_counted_together():
    prob, right = np.array([0.2, 0.2, 0.2, 0.9]), np.array([1.0, 0, 0, 1])
    alone = bins_of(Outcomes(prob, np.ones(4), right))
    together = bins_of(Outcomes(np.array([0.2, 0.9]), np.array([3.0, 1]), np.array([1.0, 1])))
    assert together.error == pytest.approx(alone.error)
    assert np.isnan(bins_of(Outcomes(np.zeros(0), np.zeros(0), np.zeros(0))).error)


def planted(scaling, seed=0, count=20_000):
    """Predictions whose share of right ones is the scaled probability."""
    rng = np.random.default_rng(seed)
    true = rng.uniform(0.02, 0.98, count)
    prob = scale(true, inverse(scaling))
    return Outcomes(prob, np.ones(count), (rng.random(count) < true).astype(float))


@pytest.mark.parametrize(
    'scaling', [Scaling(2.0), Scaling(0.5), Scaling(1.0, -1.5), Scaling(0.7, 0.8)]
)
def test_a_planted_scaling_is_found(scaling):
    fit = fit_score(planted(scaling), planted(scaling, 1))
    assert fit.scaling.temperature == pytest.approx(scaling.temperature, rel=0.05)
    assert fit.scaling.shift == pytest.approx(scaling.shift, abs=0.1)
    assert fit.is_better and fit.after.error < 0.015 < fit.before.error


def test_calibrated_probabilities_are_left_alone_or_hardly_changed():
    assert fit_scaling(planted(Scaling())).temperature == pytest.approx(1, rel=0.05)


def test_a_fit_stays_within_what_a_file_can_hold():
    prob = np.linspace(0.1, 0.9, 100)
    for right in (np.ones(100), np.zeros(100), (prob > 0.5).astype(float), prob < 0.5):
        found = fit_scaling(Outcomes(prob, np.ones(100), right.astype(float)))
        assert TEMPERATURES[0] <= found.temperature <= TEMPERATURES[1]
        assert SHIFTS[0] <= found.shift <= SHIFTS[1]


def test_a_fit_of_predictions_that_are_all_right_is_at_a_limit():
    prob = np.linspace(0.1, 0.9, 100)
    outcomes = Outcomes(prob, np.ones(100), np.ones(100))
    assert fit_score(outcomes, outcomes).is_at_limit
    assert not fit_score(planted(Scaling(2.0)), planted(Scaling(2.0), 1)).is_at_limit


def test_a_fit_that_does_not_help_says_so():
    assert not fit_score(planted(Scaling(2.0)), planted(Scaling())).is_better


def test_confidences_are_fitted_by_the_table():
    scaling = Scaling(1.5, -0.5)
    true = scale((np.arange(256) + 0.5) / 256, scaling)
    count = np.full(256, 1e4)
    outcomes = Outcomes(np.arange(256) / 255, count, count * true)
    fit = fit_confidence(outcomes, outcomes)
    assert fit.scaling.temperature == pytest.approx(1.5, rel=0.01)
    assert fit.after.error < 0.005 < fit.before.error


@pytest.mark.parametrize(
    ('prob', 'reason'), [(np.full(5, 0.75), 'have the score 0.75'), (np.zeros(0), 'no segments')]
)
def test_scores_that_say_nothing_are_refused(prob, reason):
    outcomes = Outcomes(prob, np.ones(len(prob)), np.ones(len(prob)))
    with pytest.raises(ValueError, match=reason):
        fit_score(outcomes, outcomes)


@pytest.mark.parametrize(('value', 'reason'), [(200, 'confidence 0.784'), (None, 'no pixel')])
def test_maps_that_say_nothing_are_refused(value, reason):
    count = np.zeros(256)
    if value is not None:
        count[value] = 10
    outcomes = Outcomes(np.arange(256) / 255, count, count)
    with pytest.raises(ValueError, match=reason):
        fit_confidence(outcomes, outcomes)


def test_one_output_may_be_fitted_alone():
    observed = Observations()
    observed.scores, observed.are_right = [0.2, 0.4, 0.9], [True, False, True]
    fits, [reason] = fit_all(observed, observed)
    assert list(fits) == ['score'] and 'no pixel' in reason


def test_an_image_is_observed_by_the_rules_of_the_metrics(tiny_model):
    """Right: wall, floor. False: ball, labelled elsewhere. Left out: box, on a crowd of boxes."""
    image = paint_scene(64, 128)
    names = LABELS.names
    class_map = np.full((64, 128), names.index('wall'), np.uint8)
    class_map[32:] = names.index('floor')
    instances = np.zeros((64, 128), np.int32)
    rows = slice(16, 48)
    class_map[rows, 36:52], instances[rows, 36:52] = names.index('ball'), 1
    class_map[rows, 80:112] = names.index('box')  # without an instance: a crowd
    class_map[:8] = 255
    observed = Observations()
    observed.update(load(tiny_model, 'onnxruntime', 'cpu'), Sample(image, class_map, instances))
    found = dict(zip(np.round(observed.scores, 2).tolist(), observed.are_right, strict=True))
    assert found == {0.9: True, 0.8: True, 0.95: False}
    count, right = observed.pixels
    ball, box = (int(255 * np.float32(score)) for score in (0.95, 0.65))
    assert count.sum() == 56 * 128 and count[box] == 32 * 32
    assert count[ball] == 32 * 32 and right[ball] == 32 * 12
    assert right[box] == 32 * 32
