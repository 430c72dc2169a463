# SPDX-License-Identifier: Apache-2.0
"""Scalings that make a model's probabilities agree with how often it is right."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

from panoptic_ros.core.calibration import MEAN_PROB, confidence_table, scale
from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.labels import VOID_ID
from panoptic_ros.core.model_info import SHIFTS, TEMPERATURES, Scaling
from panoptic_ros.metrics.panoptic import match_segments
from panoptic_ros.runtime.predictor import Predictor, to_frame

from .data.sample import Sample
from .evaluation.scoring import pair_of

Floats = npt.NDArray[np.float64]

BINS = 15
"""Number of bins of the calibration error, as in the paper."""

CLOSEST = 1e-6
"""Least distance of a probability from 0 and 1 in the likelihood, which they make infinite."""


class Outcomes(NamedTuple):
    """Predictions by probability, and how many of them are right."""

    prob: Floats
    """(N,) probability that is given, 0 to 1."""

    number: Floats
    """(N,) number of predictions with it."""

    right: Floats
    """(N,) number of those that are right."""


class Bins(NamedTuple):
    """Predictions in BINS bins of equal width."""

    number: Floats
    """(BINS,) number of predictions."""

    prob: Floats
    """(BINS,) their mean probability; 0 in an empty bin."""

    accuracy: Floats
    """(BINS,) share that is right, 0 to 1; 0 in an empty bin."""

    @property
    def error(self) -> float:
        """Expected calibration error, 0 to 1; NaN without predictions.

        ECE = sum over bins of n_b / N * |accuracy_b - prob_b| (Guo et al., On Calibration of
        Modern Neural Networks, ICML 2017, equation 3).
        """
        total = self.number.sum()
        return float(self.number @ np.abs(self.accuracy - self.prob) / total) if total else np.nan


def bins_of(outcomes: Outcomes) -> Bins:
    """Sort predictions into bins; bin b of B has the probabilities from b / B to (b + 1) / B."""
    place = np.minimum((outcomes.prob * BINS).astype(int), BINS - 1)
    count, total, right = (
        np.bincount(place, weights, BINS).astype(float)
        for weights in (outcomes.number, outcomes.number * outcomes.prob, outcomes.right)
    )
    some = np.maximum(count, 1)
    return Bins(count, total / some, right / some)


def fit_scaling(outcomes: Outcomes) -> Scaling:
    """Return the scaling in TEMPERATURES and SHIFTS that minimises the negative log likelihood.

    NLL = - sum of log(p') of right and log(1 - p') of wrong predictions, where
    p' = sigmoid(logit(p) / T + s). It is convex in 1 / T and s.
    """
    prob = outcomes.prob.clip(CLOSEST, 1 - CLOSEST)
    logit = np.log(prob) - np.log1p(-prob)
    total = outcomes.number.sum()
    right, wrong = outcomes.right / total, (outcomes.number - outcomes.right) / total

    def loss(values: Floats) -> tuple[float, Floats]:
        slope, shift = values
        turned = slope * logit + shift
        value = right @ np.logaddexp(0, -turned) + wrong @ np.logaddexp(0, turned)
        error = (right + wrong) * expit(turned) - right
        return float(value), np.array([error @ logit, error.sum()])

    slopes = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    found = minimize(loss, (1.0, 0.0), jac=True, method='L-BFGS-B', bounds=(slopes, SHIFTS))
    slope, shift = (float(value) for value in found.x)
    return Scaling(float(np.clip(1 / slope, *TEMPERATURES)), shift)


@dataclass(frozen=True)
class Fit:
    """Scaling of one output, from one half of the images, and its effect on the other."""

    scaling: Scaling
    before: Bins
    after: Bins

    @property
    def is_better(self) -> bool:
        """Whether the calibration error became smaller."""
        return self.after.error < self.before.error

    @property
    def is_at_limit(self) -> bool:
        """Whether the scaling ended at a limit of its range, as it does with too little data."""
        return bool(
            np.isclose(self.scaling.temperature, TEMPERATURES, rtol=1e-3).any()
            or np.isclose(self.scaling.shift, SHIFTS, rtol=1e-3).any()
        )


class Observations:
    """Segments and pixels of a model on labelled images."""

    def __init__(self) -> None:
        self.scores: list[float] = []
        """Of the segments that are right or false."""
        self.are_right: list[bool] = []
        self.pixels = np.zeros((2, 256))
        """Pixels by confidence, and those of the right class; void is left out."""

    def update(self, predictor: Predictor, sample: Sample) -> None:
        """Segment one image and add it.

        A segment is right if it matches by the rules of panoptic quality, a pixel if its class is
        right.
        """
        pixels, geometry = predictor.prepare(CameraImage(sample.image, 'rgb'))
        outputs = predictor.run(pixels, geometry)
        frame = to_frame(outputs, predictor.info, geometry, 0.0)
        pair = pair_of(sample, frame, predictor.info.labels)
        matched, is_false = match_segments(pair, pair.intersection, pair.union)
        is_right: npt.NDArray[np.bool_] = np.asarray(matched.any(axis=0))
        counted = is_right | is_false
        self.scores += frame.segments['score'][counted].tolist()
        self.are_right += is_right[counted].tolist()
        if outputs.confidence is None:
            return
        height, width = geometry.map_size
        confidence = geometry.to_camera(outputs.confidence[:height, :width])
        class_map = geometry.to_camera(frame.semantic_map)
        known: npt.NDArray[np.bool_] = (class_map != VOID_ID) & (sample.class_map != VOID_ID)
        for row, chosen in enumerate((known, known & np.equal(class_map, sample.class_map))):
            self.pixels[row] += np.bincount(confidence[chosen], minlength=256)

    def segments(self) -> Outcomes:
        """Return the segments by score."""
        scores = np.array(self.scores, np.float64)
        return Outcomes(scores, np.ones(len(scores)), np.array(self.are_right, np.float64))

    def confidences(self) -> Outcomes:
        """Return the pixels by confidence."""
        return Outcomes(np.arange(256) / 255, *self.pixels)


def observe(predictor: Predictor, samples: Iterable[Sample]) -> tuple[Observations, Observations]:
    """Return the observations of every other image, from the first one, and of the others."""
    halves = Observations(), Observations()
    for i, sample in enumerate(samples):
        halves[i % 2].update(predictor, sample)
    return halves


def fit_score(fitted: Outcomes, held_out: Outcomes) -> Fit:
    """Fit the scaling of the scores.

    Raises:
        ValueError: without segments, or if all have the same score.
    """
    for half in (fitted, held_out):
        if not half.prob.size:
            raise ValueError(
                'the model finds no segments in half of the images; give more or other images'
            )
    if np.ptp(fitted.prob) == 0:
        raise ValueError(
            f'all segments have the score {fitted.prob[0]:g}, which says nothing about them; '
            'such scores cannot be calibrated'
        )
    scaling = fit_scaling(fitted)
    after = held_out._replace(prob=scale(held_out.prob, scaling))
    return Fit(scaling, bins_of(held_out), bins_of(after))


def fit_confidence(fitted: Outcomes, held_out: Outcomes) -> Fit:
    """Fit the scaling of the confidence map.

    Raises:
        ValueError: if no pixel has a class and a label, or all have the same confidence.
    """
    for half in (fitted, held_out):
        if not half.number.any():
            raise ValueError(
                'in half of the images no pixel has both a class and a label; give more images'
            )
    if np.count_nonzero(fitted.number) == 1:
        raise ValueError(
            f'all pixels have the confidence {fitted.prob[fitted.number.argmax()]:g}, which says '
            'nothing about them; such a map cannot be calibrated'
        )
    scaling = fit_scaling(fitted._replace(prob=MEAN_PROB))
    after = held_out._replace(prob=confidence_table(scaling) / 255)
    return Fit(scaling, bins_of(held_out), bins_of(after))


def fit_all(fitted: Observations, held_out: Observations) -> tuple[dict[str, Fit], list[str]]:
    """Fit the scalings of `score` and `confidence`.

    Returns:
        The fits by output, and the reasons why others cannot be fitted.
    """
    fits, reasons = {}, []
    for name, fit, halves in (
        ('score', fit_score, (fitted.segments(), held_out.segments())),
        ('confidence', fit_confidence, (fitted.confidences(), held_out.confidences())),
    ):
        try:
            fits[name] = fit(*halves)
        except ValueError as error:  # noqa: PERF203
            reasons.append(str(error))
    return fits, reasons
