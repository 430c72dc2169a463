# SPDX-License-Identifier: Apache-2.0
"""Prediction of files into a folder, which a later run resumes."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from panoptic_ros.core.model_file import file_hash
from panoptic_ros.core.resources import default_model
from panoptic_ros.core.result_folder import open_result_folder
from panoptic_ros.predictions.folder import SETTINGS, PredictionFolder
from panoptic_ros.predictions.image_ids import read_image_ids
from panoptic_ros.predictions.inputs import Clip, Still, find_inputs
from panoptic_ros.predictions.prediction import Prediction, predict_clip, predict_image
from panoptic_ros.runtime.load import fingerprint, load


class PredictionRun:
    """Predictions of files, written as they are made.

    Use it in a `with` statement, which locks the folder and writes the JSON file at the end, also
    after an error.

    Args:
        inputs: see `find_inputs`.
        output: folder of the results; see `PredictionFolder`.
        model: model file.
        track: see `predict`.
        ids: JSON file with the ids of the images; None takes them from the names.

    Raises:
        OSError: if a file does not exist, or cannot be read or written.
        ValueError: if an input cannot be used, or the folder holds other results.
        BackendError: if the model cannot be run.
    """

    def __init__(
        self,
        inputs: Sequence[Still | Clip],
        output: Path,
        model: Path,
        track: bool = False,
        ids: Path | None = None,
    ) -> None:
        if ids is not None and any(isinstance(item, Clip) for item in inputs):
            raise ValueError(f'{ids} gives ids to images, and not to the frames of videos')
        image_ids = read_image_ids(ids, [item.name for item in inputs]) if ids is not None else {}
        self._predictor, self._track = load(model), track
        info = self._predictor.info
        settings = fingerprint(model, self._predictor)
        settings |= {
            'model': f'{info.name} ({settings["model"]})',
            'tracking': 'on' if track else 'off',
            'source of image ids': 'names' if ids is None else file_hash(ids),
        }
        self._stack = ExitStack()
        with ExitStack() as stack:
            stack.enter_context(open_result_folder(output, settings, SETTINGS, 'prediction'))
            self._folder = PredictionFolder(output, info.labels, settings, image_ids)
            left = [item for item in inputs if not self._folder.is_done(item)]
            self._stack = stack.pop_all()
        self._items = left
        self.count = sum(item.frames for item in left)
        """Number of images to predict; approximate with videos."""
        self.earlier = sum(item.frames for item in inputs) - self.count
        """Number of images that an earlier run has finished."""
        self.done = 0
        """Number of images predicted so far."""

    def __enter__(self) -> 'PredictionRun':
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            if self._folder.is_empty:
                self._folder.remove()
            else:
                self._folder.save()
        finally:
            self._stack.__exit__(*error)  # an error removes a folder without results

    def __iter__(self) -> Iterator[Prediction | Exception]:
        """Predict and write the images, and yield each, or the error of one that is not read."""
        for item in self._items:
            if isinstance(item, Clip):
                yield from self._clip(item)
            else:
                yield self._still(item)

    def _still(self, still: Still) -> Prediction | Exception:
        try:
            state, image = still.state(), still.read()
        except (OSError, ValueError) as error:
            return error
        prediction = predict_image(self._predictor, image, still.name)
        self._folder.write(still, state, prediction)
        self.done += 1
        return prediction

    def _clip(self, clip: Clip) -> Iterator[Prediction | Exception]:
        with self._folder.clip(clip, self._track) as writer:
            for result in predict_clip(self._predictor, clip, self._track):
                if isinstance(result, Prediction):
                    writer.write(result)
                    self.done += 1
                yield result


def predict_files(
    images: str | Path | Iterable[str | Path],
    output: str | Path,
    model: str | Path | None = None,
    track: bool = False,
) -> list[Exception]:
    """Segment files and write overlays, PNGs of ids and COCO panoptic JSON.

    This is the command `panoptic predict`: a run that was stopped resumes.

    Args:
        images: one path or several, of image files, videos and folders of images.
        output: folder of the results.
        model: a model file; None is the model in the package.
        track: see `predict`.

    Returns:
        The errors of images that could not be read.

    Raises:
        OSError, ValueError, BackendError: see `PredictionRun`.
    """
    paths = [images] if isinstance(images, (str, Path)) else images
    inputs = find_inputs([Path(path) for path in paths], track)
    path = default_model() if model is None else Path(model)
    with PredictionRun(inputs, Path(output), path, track) as run:
        return [result for result in run if isinstance(result, Exception)]
