# SPDX-License-Identifier: Apache-2.0
"""Drawing of all figures of a model's family for the images of a data set."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from panoptic_ros.models.base import PanopticModel
from panoptic_ros.runtime.predictor import Predictor

from ..data.sample import Reader
from ..evaluation.panels import Rgb
from ..evaluation.predictions import png_names
from ..evaluation.predictor import module_of, open_predictor
from ..trainer.run_folder import CHECKPOINT_NAMES, checkpoint_folder
from .figure import Choice, Figure, NotDrawnError, view_of
from .registry import FIGURES


class Task(NamedTuple):
    """A figure and the images that it shows."""

    figure: Figure

    reader: Reader

    indices: tuple[int, ...]

    @property
    def name(self) -> str:
        """Return figure and first image, `hle_1_000000`."""
        (image,) = png_names([self.reader.image_names[self.indices[0]]])
        return f'{self.figure.name}_{Path(image).stem}'


def open_module(path: Path) -> tuple[Predictor, PanopticModel]:
    """Open a checkpoint, or the best one of a training's folder, or a model file, in PyTorch.

    Raises:
        ValueError: if the file is invalid or holds no module of this package.
        OSError: if the file cannot be read, or a folder has no checkpoint.
    """
    if path.is_dir():
        folder = checkpoint_folder(path)
        found = [folder / name for name in CHECKPOINT_NAMES if (folder / name).is_file()]
        if not found:
            raise FileNotFoundError(
                f'{path} has no checkpoints/{" and no checkpoints/".join(CHECKPOINT_NAMES)}; '
                'expected a checkpoint, the folder of a training, or a model file'
            )
        path = found[0]
    predictor = open_predictor(path, 'torch')
    return predictor, module_of(predictor, path)


def figures_of(family: str) -> tuple[Figure, ...]:
    """Return the figures of a family.

    Raises:
        ValueError: if it has none.
    """
    if family not in FIGURES:
        raise ValueError(
            f'there are no figures of family {family}; the families are: {", ".join(FIGURES)}'
        )
    return FIGURES[family]


def tasks_of(
    figures: Sequence[Figure], reader: Reader, indices: Sequence[int], video: Reader | None
) -> list[Task]:
    """Return each figure for each image, and figures of a video for its first frames.

    Args:
        figures: rows of the registry.
        reader: of the images.
        indices: of the images.
        video: reader with clips, or None, which leaves out the figures of a video.
    """
    single = [figure for figure in figures if figure.frames == 1]
    tasks = [Task(figure, reader, (index,)) for index in indices for figure in single]
    if video is not None and video.clips:
        clip = video.clips[0]
        tasks += [
            Task(figure, video, clip[: figure.frames]) for figure in figures if figure.frames > 1
        ]
    return tasks


def draw_all(
    predictor: Predictor, model: PanopticModel, tasks: Sequence[Task], choice: Choice
) -> Iterator[tuple[Task, Rgb | NotDrawnError]]:
    """Yield the picture of each task, or why it is not drawn."""
    views = {}
    for task in tasks:
        for index in task.indices:
            key = id(task.reader), index
            if key not in views:
                name = task.reader.image_names[index]
                views[key] = view_of(predictor, task.reader.read(index, 0), name)
        shown = [views[id(task.reader), index] for index in task.indices]
        try:
            yield task, task.figure.draw(model, shown, choice)
        except NotDrawnError as error:
            yield task, error
