# SPDX-License-Identifier: Apache-2.0
"""`panoptic predict`: segment image files, folders and videos."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from panoptic_ros.cli.model_source import MODEL_HELP, model_argument, model_path
from panoptic_ros.cli.output import check_output, report_saved
from panoptic_ros.core.progress import Progress
from panoptic_ros.core.text import counted, one_line

STDIN = Path('-')

CHECKPOINTS = ('.ckpt', '.pt', '.pth', '.safetensors')
"""Endings of files that users may name as models."""

DEFAULT_OUTPUT = Path('predict_output')

EPILOG = """\
The first argument is the model if it ends in .onnx or starts with hf:, else the model in the
package is used. A folder stands for the images in it, without those of folders inside.

The folder of results holds
  overlays/          the pictures with classes as colours, names and a legend;
                     for a video a video
  predictions/       PNGs of segment ids, R + 256 G + 65536 B, 0 is void
  predictions.json   COCO panoptic format; the id of an image is its name
                     without the ending, a number if it is one
  predict.json       model and settings
Another run with the same model and settings adds to it, and skips images that are done and have
not changed: so a run that was stopped resumes. The status is 1 if an image could not be read.

examples:
  panoptic predict street.jpg
  panoptic predict city.onnx photos/ -o out/
  panoptic predict drive.mp4 --track
  panoptic predict - < street.jpg > street.json"""


def add_parser(subparsers: Any) -> None:
    """Add the command to `panoptic`."""
    parser = subparsers.add_parser(
        'predict',
        help='segment images, folders and videos: pictures and COCO panoptic JSON',
        usage='panoptic predict [-h] [--track] [--ids FILE] [-o DIR]\n'
        '                        [MODEL] IMAGE|FOLDER|VIDEO ...',
        description='Segments images and videos, and writes a picture, a PNG of segment ids and '
        'an entry in a JSON file\nfor each. Prints a line per image: name, size, time of the '
        'prediction, and what was found.',
        epilog=EPILOG,
    )
    parser.add_argument(
        'inputs',
        type=model_argument,
        nargs='+',
        metavar='IMAGE',
        help=f'the model if it is named ({MODEL_HELP}), then image files, folders of images '
        'and videos; - alone reads one image from standard input, and writes its JSON, with '
        'the masks as run lengths, to standard output',
    )
    parser.add_argument(
        '--track',
        action='store_true',
        help='give things ids that last through a video, in pictures, PNGs and JSON; a folder of '
        'images is taken as a video',
    )
    parser.add_argument(
        '--ids',
        type=Path,
        metavar='FILE',
        help='COCO JSON file from which the images get their ids, by file name, so that their '
        'predictions can be scored with it',
    )
    parser.add_argument(
        '-o',
        '--output',
        type=Path,
        metavar='DIR',
        help=f'folder of the results (default: {DEFAULT_OUTPUT})',
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Predict, write the results and print a line per image.

    Returns:
        1 if an image could not be read, else 0.

    Raises:
        OSError, ValueError, BackendError: see `PredictionRun`.
    """
    model, paths = split_model(args.inputs)
    if STDIN in paths:
        _predict_stdin(args, model, paths)
        return 0
    args.output = args.output or DEFAULT_OUTPUT
    from panoptic_ros.predictions.folder import RESULTS
    from panoptic_ros.predictions.inputs import find_inputs
    from panoptic_ros.predictions.run import PredictionRun

    check_output(args, 'output', RESULTS)
    inputs = find_inputs(paths, args.track)
    failed: list[Exception] = []
    with (
        PredictionRun(inputs, args.output, model_path(model), args.track, args.ids) as work,
        Progress('images predicted', work.count + work.earlier, work.earlier) as progress,
    ):
        if work.earlier and work.count:
            print(f'{args.output}: {counted(work.earlier, "image")} predicted earlier')
        start = time.monotonic()
        for result in work:
            if isinstance(result, Exception):
                failed.append(result)
                print(f'not read: {_explain(result)}', file=sys.stderr, flush=True)
            else:
                print(result.line(), flush=True)
            progress.update(work.earlier + work.done + len(failed))
        rate = work.done / (time.monotonic() - start)
        if failed and not work.done + work.earlier:
            raise ValueError('none of the images could be read')
    summary = f'{counted(work.done, "image")} predicted'
    if work.done:
        summary += f', {rate:.1f} images/s'
    if work.earlier:
        summary += f', {work.earlier} earlier'
    if failed:
        summary += f', {len(failed)} not read'
    report_saved(summary, args.output, names=RESULTS.names)
    return 1 if failed else 0


def split_model(words: list[str | Path]) -> tuple[str | Path | None, list[Path]]:
    """Split the arguments into the model, which comes first if it is named, and the images.

    Raises:
        ValueError: if there is no image, or a model in another place.
    """
    first = words[0]
    model, images = (first, words[1:]) if _is_model(first) else (None, words)
    if isinstance(first, Path) and first.suffix in CHECKPOINTS:
        raise ValueError(
            f'{first} is not a model file, which ends in .onnx; `panoptic export` makes one of '
            'a checkpoint'
        )
    if isinstance(first, Path) and (first / 'config.json').is_file():
        raise ValueError(
            f'{first} looks like a model of the transformers library; write hf:{first}'
        )
    if not images:
        raise ValueError(
            f'{first} is the model; name the images after it; see `panoptic predict --help`'
        )
    for word in images:
        if _is_model(word):
            raise ValueError(f'{word} is a model; name one model, as the first argument')
    return model, [Path(word) for word in images]


def _is_model(word: str | Path) -> bool:
    return isinstance(word, str) or word.suffix == '.onnx'


def _explain(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return one_line(f'{error.filename}: {error.strerror}')
    return one_line(error)


def _predict_stdin(args: argparse.Namespace, model: str | Path | None, paths: list[Path]) -> None:
    """Predict the image on standard input, and write its JSON to standard output."""
    if len(paths) > 1 or args.output or args.track or args.ids:
        raise ValueError(
            '- reads one image and writes to standard output; it takes no other image and no flag'
        )
    if sys.stdin.isatty():
        raise ValueError('- expects an image on standard input, as in `< street.jpg`')
    from panoptic_ros.predictions.inputs import read_stream
    from panoptic_ros.predictions.prediction import predict_image
    from panoptic_ros.runtime.load import load

    image = read_stream(sys.stdin.buffer, 'standard input')
    print(json.dumps(predict_image(load(model_path(model)), image).to_dict()))
