# SPDX-License-Identifier: Apache-2.0
"""`panoptic data from-recording` and `to-gt`: recordings to data sets, and labels back."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panoptic_ros.cli.arguments import add_backend, add_folder_output, add_recordings
from panoptic_ros.cli.mine import add_frames, open_model
from panoptic_ros.cli.model_source import add_trained_model, model_path
from panoptic_ros.cli.output import check_output, report_saved
from panoptic_ros.core.outputs import Results
from panoptic_ros.core.progress import with_bar
from panoptic_ros.core.text import counted

if TYPE_CHECKING:
    from panoptic_ros.mining.frames import RecordedFrame

SPLITS = ('train', 'val', 'test')


def add_from_recording(actions: Any) -> None:
    """Add the action `from-recording`."""
    parser = actions.add_parser(
        'from-recording',
        help="frames of recordings to a data set with a model's predictions as labels",
        description='Writes the frames of recordings as a split of a data set in '
        "COCO's panoptic format, whose labels are\na model's predictions, to be corrected. "
        '`instances_<split>.json` holds the things as COCO instances,\nwhich CVAT imports; '
        '`sources.json` the recording, camera and stamp of each image.',
        epilog='examples:\n'
        '  panoptic data from-recording drives/monday --model city.onnx --stride 10 \\\n'
        '      -o my_data\n'
        '  panoptic data from-recording drives/sunday --model city.onnx --split val \\\n'
        '      -o my_data',
    )
    add_recordings(parser)
    add_trained_model(parser)
    parser.add_argument(
        '--split', choices=SPLITS, default='train', help='split to write (default: %(default)s)'
    )
    add_folder_output(parser, 'folder of the data set')
    add_frames(parser)
    add_backend(parser)
    parser.set_defaults(func=run_from_recording)


def add_to_gt(actions: Any) -> None:
    """Add the action `to-gt`."""
    parser = actions.add_parser(
        'to-gt',
        help='labelled frames of recordings to ground truth for `panoptic replay --gt`',
        description='Writes labelled frames as the ground truth that `panoptic replay --gt` '
        'reads: <stamp in ns>.png and\nclasses.yaml, in a folder for each camera of a recording '
        'if there are several. Stamps come from\nsources.json, or from file names that end with '
        'them.',
        epilog='examples:\n'
        '  panoptic data to-gt my_data --split val -o gt\n'
        '  panoptic replay drives/sunday --model city.onnx --gt gt -o out',
    )
    parser.add_argument(
        'data',
        type=Path,
        metavar='DIR',
        help="folder of a data set in COCO's panoptic format, which `panoptic data convert` "
        'writes of others',
    )
    parser.add_argument(
        '--split', choices=SPLITS, default='train', help='split to read (default: %(default)s)'
    )
    add_folder_output(parser, 'folder to write')
    parser.set_defaults(func=run_to_gt)


def run_from_recording(args: argparse.Namespace) -> None:
    """Write a split.

    Raises:
        ValueError: if an option is invalid or no frame can be read.
        OSError: if a file exists already, or cannot be read or written.
        BackendError: if the backend or the device is not available.
    """
    from panoptic_ros.mining.blur import describe_blur
    from panoptic_ros.mining.frames import Recordings
    from panoptic_ros.mining.prelabels import names_of_split
    from panoptic_ros.mining.recorded_data import check_split, write_recorded_data

    check_output(args, 'output', Results(names_of_split(args.split)))
    check_split(args.output, args.split)
    recordings = Recordings(args.recordings, args.image, args.stride)
    predictor = open_model(model_path(args.model), args.backend, args.device)
    if args.blur:
        print(describe_blur(predictor.info.labels))

    def progress(frames: Iterator['RecordedFrame']) -> Iterator['RecordedFrame']:
        return with_bar(frames, recordings.count(), 'frames written')

    count = write_recorded_data(
        recordings, predictor, args.split, args.blur, args.output, progress
    )
    summary = f'{args.split}: {counted(count, "image")}'
    if recordings.unreadable:
        summary += f', {counted(recordings.unreadable, "image")} not read'
    report_saved(summary, args.output, next_command=('data', 'check', f'coco:{args.output}'))


def run_to_gt(args: argparse.Namespace) -> None:
    """Write ground truth.

    Raises:
        ValueError: if the data set is damaged, or an image has no stamp.
        OSError: if a file is missing or cannot be written.
    """
    from panoptic_ros.mining.ground_truth import CLASSES, read_labelled_frames, write_ground_truth

    check_output(args, 'output', Results((CLASSES,)))
    frames = read_labelled_frames(args.data, args.split)
    count = sum(map(len, frames.cameras.values()))
    for _ in with_bar(write_ground_truth(frames, args.output), count, 'images written'):
        pass
    if not frames.tracked:
        print(
            'the data set has no track ids, so each instance of a frame is a track of its own: '
            'PQ and mIoU hold, scores of tracks (STQ, VPQ, HOTA, IDF1) mean nothing'
        )
    cameras = counted(len(frames.cameras), 'camera')
    report_saved(f'{counted(count, "image")} of {cameras}', args.output)
