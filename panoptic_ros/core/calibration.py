# SPDX-License-Identifier: Apache-2.0
"""Calibration of scores and of the confidence map.

A scaling turns a probability p into sigmoid(logit(p) / T + s), with a temperature T and a shift s
(Platt, Probabilistic Outputs for Support Vector Machines, 1999; with s = 0 it is the temperature
of Guo et al., On Calibration of Modern Neural Networks, ICML 2017). The shift is needed because a
model publishes no segment below its threshold, so the low ones of those that it publishes may be
wrong more often than right, which no temperature can say. The order of probabilities stays, and
with a threshold that is turned as well, so does every decision.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.model_info import Outputs, Scaling

SCORE_THRESHOLD = 'score_threshold'
"""Threshold of the graph in the units of the scores."""

MEAN_PROB: npt.NDArray[np.float64] = (np.arange(256) + 0.5) / 256
"""(256,) mean probability that a confidence stands for; it was rounded down."""


def scale(prob: npt.NDArray[Any] | float, scaling: Scaling) -> Any:
    """Return sigmoid(logit(p) / T + s); 0 and 1 stay.

    It is computed as a / (a + b), a = p^(1/T) and b = exp(-s) (1 - p)^(1/T), which has no infinite
    intermediate values.

    >>> scale(np.array([0.5, 0.9, 1.0]), Scaling(temperature=2.0)).round(3).tolist()
    [0.5, 0.75, 1.0]

    Args:
        prob: probabilities of any shape; others than 0 to 1 are clipped.
        scaling: T and s.
    """
    prob = np.clip(prob, 0, 1)
    right = prob ** (1 / scaling.temperature)
    wrong = (1 - prob) ** (1 / scaling.temperature) * float(np.exp(-scaling.shift))
    return right / (right + wrong)


def inverse(scaling: Scaling) -> Scaling:
    """Return the scaling that undoes another."""
    return Scaling(1 / scaling.temperature, -scaling.shift * scaling.temperature)


def confidence_table(scaling: Scaling) -> npt.NDArray[np.uint8]:
    """Return the calibrated confidence by confidence, (256,); 0 stays 0, which void has."""
    table = np.floor(256 * scale(MEAN_PROB, scaling)).clip(1, 255).astype(np.uint8)
    table[0] = 0
    return table


def raw_thresholds(
    thresholds: Mapping[str, Any], calibration: Mapping[str, Scaling]
) -> dict[str, Any]:
    """Return the thresholds of the network itself; those of a model file are calibrated.

    Args:
        thresholds: numbers, or arrays of a batch, by name.
        calibration: scaling by output.
    """
    values = dict(thresholds)
    if 'score' in calibration and SCORE_THRESHOLD in values:
        undo = inverse(calibration['score'])
        values[SCORE_THRESHOLD] = scale(values[SCORE_THRESHOLD], undo)
    return values


def calibrate_outputs(outputs: Outputs, calibration: Mapping[str, Scaling]) -> Outputs:
    """Return the network's outputs with calibrated scores and confidences."""
    if 'score' in calibration:
        score = scale(outputs.score, calibration['score']).astype(np.float32)
        outputs = outputs._replace(score=score)
    if 'confidence' in calibration and outputs.confidence is not None:
        table = confidence_table(calibration['confidence'])
        outputs = outputs._replace(confidence=table[outputs.confidence])
    return outputs
