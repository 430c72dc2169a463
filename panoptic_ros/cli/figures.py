# SPDX-License-Identifier: Apache-2.0
"""`panoptic figures`: the papers' figures, drawn from a trained model."""

import argparse
import sys
from typing import Any

from panoptic_ros.cli.arguments import add_data, add_folder_output, add_images, parse_slice
from panoptic_ros.cli.model_source import model_argument
from panoptic_ros.cli.output import check_output, report_saved
from panoptic_ros.core.files import write_bytes
from panoptic_ros.core.outputs import Results
from panoptic_ros.core.progress import with_bar
from panoptic_ros.core.text import counted

JPEG_QUALITY = 80

IMAGES = 3
"""Number of images where the user chooses none."""

CITY_CLIP = 20
"""Images per street of the synthetic city that form a video."""

EPILOG = """\
-o collects a JPEG per figure and image, `<figure>_<image>.jpg`:
  hle     hle_1     distance of all embeddings from that of one pixel
          hle_3     dimensions of the embedding as colours
          hle_8     the first three over the frames of a video
  ciae    ciae_4    proposals, principal components of the embedding, similarity
          ciae_5    the same beside segments and ground truth
  einet   einet_2   t-SNE of the pixels' embeddings, without and with the
                    interaction
          einet_3   heatmaps of the centres
  pisr    pisr_5    map of a class with its centres, without and with the block
          pisr_c2   t-SNE of the encodings of classes and instances; also of
                    pisr_panoptic_fpn and pisr_upernet
          pisr_e1   heatmaps of centres and instances, without and with the
                    block
  sognet  sognet_3  which instance covers which: predicted, and the ground truth

examples:
  panoptic figures runs/hle_mobilenetv2_city --data synthetic -o figures
  panoptic figures best.ckpt --data synthetic --images 4:5 --pixel 300,160 \\
      -o figures"""


def add_parser(subparsers: Any) -> None:
    """Add the command to `panoptic`."""
    parser = subparsers.add_parser(
        'figures',
        help="draw the papers' figures from a trained model",
        description="Draws the figures of the paper of the model's family, for the first "
        f'{IMAGES} images unless others are chosen. They show tensors inside the network, so it '
        'runs in PyTorch. Needs the extras train and report.',
        epilog=EPILOG,
    )
    parser.add_argument(
        'model',
        type=model_argument,
        metavar='MODEL',
        help='a checkpoint of `panoptic train` (.ckpt), the folder of a training, whose best '
        'checkpoint is taken, or a model file of one of these families',
    )
    add_data(parser)
    add_images(parser)
    parser.add_argument(
        '--pixel',
        type=pixel,
        metavar='X,Y',
        help='for hle_1: the pixel of the image (default: one in the largest thing)',
    )
    parser.add_argument(
        '--class',
        dest='class_name',
        metavar='NAME',
        help='for pisr_5: the class (default: that of the largest thing)',
    )
    add_folder_output(parser, 'folder for the figures, see below')
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Draw and write the figures.

    Raises:
        ValueError: if an argument is invalid, model and data do not fit together, or no figure
            can be drawn.
        OSError: if a file cannot be read or written.
    """
    check_output(args, 'output', Results())
    chosen = parse_slice(args.images) if args.images is not None else slice(None)
    if isinstance(args.model, str):
        raise ValueError(
            f'{args.model} is a checkpoint of transformers; expected a model of a family that '
            '`panoptic figures --help` lists'
        )
    require_packages()
    from panoptic_ros.core.image import encode_jpeg
    from panoptic_training.data.class_table import require_same_classes
    from panoptic_training.data.registry import open_reader, resolve_name, with_hidden
    from panoptic_training.figures.figure import Choice, NotDrawnError
    from panoptic_training.figures.run import draw_all, figures_of, open_module, tasks_of

    data = resolve_name(args.data)
    reader = open_reader(data, args.split)
    predictor, model = open_module(args.model)
    figures = figures_of(model.family)
    require_same_classes(model.labels, str(args.model), reader.labels, data)
    for flag, value, family in (('pixel', args.pixel, 'hle'), ('class', args.class_name, 'pisr')):
        if value is not None and model.family != family:
            raise ValueError(f'--{flag} is for family {family}, got a model of {model.family}')
    class_id = None if args.class_name is None else model.labels.class_ids([args.class_name])[0]
    default = None if args.images is not None else IMAGES
    indices = range(len(reader))[chosen][: args.limit or default]
    if not indices:
        raise ValueError(f'--images leaves none of the {counted(len(reader), "image")}')
    if args.model.suffix == '.onnx':
        print(
            f'{args.model} is built again in PyTorch: its graph returns segments only',
            file=sys.stderr,
        )
    video = reader
    if data == 'synthetic':
        video = open_reader(data, args.split, video=True, frames_per_clip=CITY_CLIP)
    tasks = tasks_of(figures, with_hidden(reader, data, args.split), indices, video)
    for figure in figures:
        if not any(task.figure is figure for task in tasks):
            print(f'{figure.name} is not drawn: {data} has no video', file=sys.stderr)
    args.output.mkdir(parents=True, exist_ok=True)
    reasons, names = [], []
    drawn = draw_all(predictor, model, tasks, Choice(args.pixel, class_id))
    for task, picture in with_bar(drawn, len(tasks), 'figures drawn'):
        if isinstance(picture, NotDrawnError):
            reasons.append(f'{task.name} is not drawn: {picture}')
        else:
            names.append(f'{task.name}.jpg')
            write_bytes(encode_jpeg(picture, JPEG_QUALITY), args.output / names[-1])
    if not names:
        raise ValueError('; '.join(reasons))
    for reason in reasons:
        print(reason, file=sys.stderr)
    report_saved(f'{counted(len(names), "figure")} of {model.family}', args.output)


def pixel(text: str) -> tuple[int, int]:
    """Return the pixel that `X,Y` names."""
    parts = text.split(',')
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(
            f'must be X,Y, two whole numbers of at least 0, got {text!r}'
        )
    return int(parts[0]), int(parts[1])


def require_packages() -> None:
    """Refuse the command, before the work, where matplotlib or scikit-learn is not installed."""
    try:
        import matplotlib.figure  # noqa: F401
        import sklearn  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f'figures needs matplotlib and scikit-learn ({error}): '
            'pip install "panoptic_ros[train,report]"'
        ) from None
