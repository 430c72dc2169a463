# SPDX-License-Identifier: Apache-2.0
"""`panoptic mine`: the frames of recordings that are worth labelling."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panoptic_ros.cli.arguments import (
    add_backend,
    add_folder_output,
    add_image_topics,
    add_recordings,
    add_stride,
    number,
    whole,
)
from panoptic_ros.cli.model_source import add_trained_model, model_path
from panoptic_ros.cli.output import check_output, report_saved
from panoptic_ros.core.progress import with_bar
from panoptic_ros.core.text import counted, one_line

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from panoptic_ros.mining.frames import RecordedFrame
    from panoptic_ros.runtime.predictor import Predictor

TRAIN_IMAGES = 200
"""Images of the training set whose embeddings are compared, evenly spread over it."""

EPILOG = """\
The folder of -o becomes a data set in COCO's panoptic format whose labels are the model's
predictions, to be corrected:
  index.html picks.json         why each frame was chosen
  train.json train/             images, and the list of their segments
  panoptic_train/               PNGs of segment ids
  instances_train.json          the things as COCO instances, for CVAT
  sources.json                  recording, camera and stamp of each image

examples:
  panoptic mine drives/monday --model city.onnx -o picked
  panoptic mine drives/* --model runs/city/checkpoints/best.ckpt \\
      --train synthetic --val drives/sunday coco:data/val --blur -o picked"""


def add_parser(subparsers: Any) -> None:
    """Add the command to `panoptic`."""
    parser = subparsers.add_parser(
        'mine',
        help='choose the frames of recordings that are worth labelling',
        description='Runs a model on every image of recordings (rosbag2, ROS 1, videos, folders '
        'of images) and chooses\nframes in which it is unsure: the results of the mirrored image '
        'and at stride 2 differ, scores are\nlow or fall into two groups, tracks flicker, things '
        'are unlike those of the training set. The\nchosen frames differ from each other.',
        epilog=EPILOG,
    )
    add_recordings(parser)
    add_trained_model(parser)
    add_folder_output(parser, 'folder of the results')
    parser.add_argument(
        '--count',
        type=whole(1),
        default=100,
        metavar='N',
        help='number of frames to choose (default: %(default)s)',
    )
    parser.add_argument(
        '--max-mb',
        type=number(above=0),
        default=1000.0,
        metavar='MB',
        help='most megabytes to write; the frames chosen last are left out for it '
        '(default: %(default)g)',
    )
    parser.add_argument(
        '--train',
        metavar='DATA',
        help="the model's training set, with whose things those of the frames are compared",
    )
    parser.add_argument(
        '--val',
        nargs='+',
        default=[],
        metavar='RECORDING|DATA',
        help='recordings of validation sets, which are never mined: recordings, or data sets with '
        'sources.json, of which the images in val.json count',
    )
    add_frames(parser)
    add_backend(parser)
    parser.set_defaults(func=run)


def add_frames(parser: argparse.ArgumentParser) -> None:
    """Add the flags that choose and blur frames: --image, --stride and --blur."""
    add_image_topics(parser)
    add_stride(parser, 'read')
    parser.add_argument(
        '--blur',
        action='store_true',
        help="blur heads and number plates in all written images: the upper part of people's "
        'boxes and the lower part of those of vehicles, where the model finds them',
    )


def run(args: argparse.Namespace) -> None:
    """Choose frames and write them.

    Raises:
        ValueError: if an option is invalid or nothing can be chosen.
        OSError: if a file cannot be read or written.
        BackendError: if the backend or the device is not available.
    """
    from panoptic_ros.mining.blur import describe_blur
    from panoptic_ros.mining.frames import Recordings
    from panoptic_ros.mining.run import RESULTS, mine
    from panoptic_ros.mining.sources import leave_out, validation_identities
    from panoptic_ros.pages.page import require_jinja

    check_output(args, 'output', RESULTS)
    require_jinja('mine')
    paths, lines = leave_out(args.recordings, validation_identities(args.val))
    for line in lines:
        print(line, file=sys.stderr)
    recordings = Recordings(paths, args.image, args.stride)
    path = model_path(args.model)
    predictor = open_model(path, args.backend, args.device)
    if args.blur:
        print(describe_blur(predictor.info.labels))
    count = recordings.count()

    def progress(frames: Iterator['RecordedFrame'], what: str) -> Iterator['RecordedFrame']:
        return with_bar(frames, count, what)

    picks = mine(
        recordings,
        predictor,
        finer_model(predictor, path),
        known_things(args.train, predictor),
        args.count,
        round(args.max_mb * 1e6),
        args.blur,
        args.output,
        progress,
    )
    summary = f'{counted(len(picks), "frame")} chosen'
    if recordings.unreadable:
        summary += f', {counted(recordings.unreadable, "image")} not read'
    report_saved(summary, args.output, next_command=('data', 'show', f'coco:{args.output}'))


def open_model(path: Path, backend: str, device: str) -> 'Predictor':
    """Open a model file, or a checkpoint where the training package is installed."""
    if path.suffix != '.ckpt':
        from panoptic_ros.runtime.load import load

        return load(path, backend, device)
    from panoptic_training.evaluation.predictor import open_predictor

    return open_predictor(path, backend, device)


def finer_model(predictor: 'Predictor', path: Path) -> 'Predictor | None':
    """Return the model at stride 2; None, with a line, if that is not possible."""
    try:
        if predictor.info.stride == 2:
            raise ValueError('the model decodes at stride 2 itself')
        from panoptic_training.evaluation.predictor import at_stride

        return at_stride(predictor, path, 2)
    except (ImportError, ValueError) as error:
        print(f'not compared with the result at stride 2: {one_line(error)}', file=sys.stderr)
        return None


def known_things(train: str | None, predictor: 'Predictor') -> 'npt.NDArray[np.floating] | None':
    """Return embeddings of the training set; None if there are none to compare with."""
    if train is None:
        return None
    if not predictor.info.embedding_dim:
        raise ValueError('--train compares embeddings, and this model gives none')
    import numpy as np

    from panoptic_ros.mining.evidence import known_embeddings
    from panoptic_training.data.registry import open_reader, resolve_name

    reader = open_reader(resolve_name(train), 'train')
    chosen = np.linspace(0, len(reader) - 1, min(TRAIN_IMAGES, len(reader))).round().astype(int)
    indices = with_bar(chosen.tolist(), len(chosen), 'training images read')
    return known_embeddings(predictor, (reader.read(index, 0).image for index in indices))
