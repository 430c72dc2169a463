# SPDX-License-Identifier: Apache-2.0
"""The pipeline of a running camera."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from panoptic_ros.core.frame import PanopticFrame
from panoptic_ros.core.image import CameraImage
from panoptic_ros.node.model_settings import apply_settings, tracker_config
from panoptic_ros.node.pipeline import Pipeline, Result
from panoptic_ros.runtime import Predictor
from panoptic_ros.tracking import Tracker, TrackerStats, View


class LivePipeline:
    """Pipeline and tracker that one thread uses while another changes model and settings.

    A change is made at once if no image is being processed, else after that image. Only the
    newest model and the newest settings are kept until then.
    """

    def __init__(self, predictor: Predictor, settings: Mapping[str, Any]) -> None:
        """Create a pipeline with a tracker of its own.

        Args:
            predictor: the loaded model.
            settings: the parameters' values, checked for that model.
        """
        self._tracker = Tracker(tracker_config(settings))
        self._pipeline = Pipeline(predictor, self._tracker)
        apply_settings(self._pipeline, self._tracker, settings)
        self._settings = settings
        self._work = threading.Lock()  # held while an image is processed or a change is made
        self._lock = threading.Lock()  # guards the next three
        self._new_settings: Mapping[str, Any] | None = None
        self._new_model: tuple[Predictor, Callable[[], None]] | None = None
        self._reset = False

    @property
    def tracks(self) -> TrackerStats | None:
        """Counts after the last image; None without a tracker."""
        return self._tracker.stats if self._pipeline.tracker else None

    def apply(self, settings: Mapping[str, Any]) -> None:
        """Change the settings to checked values of the parameters."""
        with self._lock:
            self._new_settings = settings
            # Tracks from before the tracker was disabled are outdated when it is enabled again.
            self._reset |= not settings['tracker.enabled']
        self._make_changes_if_idle()

    def replace_model(self, predictor: Predictor, replaced: Callable[[], None]) -> None:
        """Change the model; tracks start anew, with new ids.

        Args:
            predictor: the new model.
            replaced: called between the last image of the old model and the first of the new one,
                by the thread that makes the change; it must not raise an exception.
        """
        with self._lock:
            self._new_model, self._reset = (predictor, replaced), True
        self._make_changes_if_idle()

    def reset_tracks(self) -> None:
        """Forget all tracks, and the votes for stuff."""
        with self._lock:
            self._reset = True
        self._make_changes_if_idle()

    def locate(self, frame: PanopticFrame, view: View) -> None:
        """See `Tracker.locate`; inside `for_image` only."""
        if self._pipeline.tracker is not None:
            self._tracker.locate(frame, view)

    @property
    def current(self) -> Pipeline:
        """The pipeline in use; it may be run inside `for_image` only."""
        return self._pipeline

    @property
    def predictor(self) -> Predictor:
        """The model in use."""
        return self._pipeline.predictor

    @contextmanager
    def for_image(self) -> Iterator[None]:
        """Make all changes, and keep later ones waiting until the image is processed."""
        try:
            with self._work:
                self._make_changes()
                yield
        finally:
            self._make_changes_if_idle()

    def __call__(self, image: CameraImage, stamp_s: float) -> Result:
        """See `Pipeline`; inside `for_image` only."""
        return self._pipeline(image, stamp_s)

    def _make_changes_if_idle(self) -> None:
        # A loop: the holder of `_work` may have missed a change that came just before its release.
        while self._is_changed() and self._work.acquire(blocking=False):
            try:
                self._make_changes()
            finally:
                self._work.release()

    def _is_changed(self) -> bool:
        with self._lock:
            return self._reset or self._new_settings is not None or self._new_model is not None

    def _make_changes(self) -> None:
        """Make all changes that wait; the caller holds `_work`."""
        with self._lock:
            model, settings, reset = self._new_model, self._new_settings, self._reset
            self._new_model, self._new_settings, self._reset = None, None, False
        if settings is not None:
            self._settings = settings
        if reset:
            self._tracker.reset()
            if self._pipeline.stuff_vote is not None:
                self._pipeline.stuff_vote.clear()
        if model is not None:
            self._pipeline = Pipeline(model[0], self._tracker)
        if model is not None or settings is not None:
            apply_settings(self._pipeline, self._tracker, self._settings)
        if model is not None:
            model[1]()
