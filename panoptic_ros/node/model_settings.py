# SPDX-License-Identifier: Apache-2.0
"""Configuration of pipeline and tracker from the parameters, and checks against the model."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from panoptic_ros.core.model_info import ModelInfo
from panoptic_ros.node.camera_settings import settings_for
from panoptic_ros.node.pipeline import Pipeline
from panoptic_ros.spatial.lidar import parse_extrinsic
from panoptic_ros.tracking import StuffVote, Tracker, TrackerConfig

THRESHOLDS = ('score_threshold', 'min_area')


def tracker_config(settings: Mapping[str, Any]) -> TrackerConfig:
    """Return the tracker's configuration from the parameters `tracker.*`.

    Raises:
        ValueError: if the values contradict each other.
    """
    return TrackerConfig(**{f.name: settings[f'tracker.{f.name}'] for f in fields(TrackerConfig)})


def check_settings(settings: Mapping[str, Any], info: ModelInfo | None = None) -> None:
    """Check the values of all parameters, of each camera, against each other and for a model.

    Args:
        settings: values that their declarations allow, and `cameras` are usable names.
        info: the model; None checks what does not depend on it.

    Raises:
        ValueError: if values of a camera contradict each other or do not suit the model.
    """
    for camera in settings['cameras']:
        own = settings_for(camera, settings)
        try:
            tracker_config(own)
            if own['cloud.extrinsic']:
                parse_extrinsic(own['cloud.extrinsic'])
            if info is not None:
                check_for_model(own, info)
        except ValueError as error:
            if own == settings_for('', settings):
                raise
            raise ValueError(f'camera {camera}: {error}') from None


def check_for_model(settings: Mapping[str, Any], info: ModelInfo) -> None:
    """Check the values that depend on the model.

    Raises:
        ValueError: if a class is unknown, none is left or a threshold is out of the model's range.
    """
    for name in ('classes.include', 'classes.exclude'):
        try:
            info.labels.class_ids(settings[name])
        except ValueError as error:  # noqa: PERF203
            raise ValueError(f'{name}: {error}') from None
    wanted = info.labels.class_ids(settings['classes.include']) or range(len(info.labels))
    if not set(wanted) - set(info.labels.class_ids(settings['classes.exclude'])):
        raise ValueError(
            'classes.include and classes.exclude leave no class; the model has '
            f'{", ".join(info.labels.names)}'
        )
    for name, value in _thresholds(settings).items():
        threshold = info.thresholds[name]
        if not threshold.minimum <= value <= threshold.maximum:
            raise ValueError(
                f'{name} must be {threshold.minimum:g} to {threshold.maximum:g} for '
                f'this model, got {value:g}'
            )


def apply_settings(pipeline: Pipeline, tracker: Tracker, settings: Mapping[str, Any]) -> None:
    """Apply the parameters' values to a pipeline that is not processing an image."""
    pipeline.thresholds = _thresholds(settings)
    pipeline.choose_classes(settings['classes.include'], settings['classes.exclude'])
    tracker.config = tracker_config(settings)
    if settings['tracker.enabled'] and pipeline.tracker is None:
        tracker.reset()  # its tracks are from before it was disabled
    pipeline.tracker = tracker if settings['tracker.enabled'] else None
    if settings['smooth.stuff'] != (pipeline.stuff_vote is not None):
        pipeline.stuff_vote = StuffVote() if settings['smooth.stuff'] else None


def _thresholds(settings: Mapping[str, Any]) -> dict[str, float]:
    """Return the thresholds that are not left to the model."""
    return {name: settings[name] for name in THRESHOLDS if settings[name] >= 0}
