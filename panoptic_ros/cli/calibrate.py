# SPDX-License-Identifier: Apache-2.0
"""`panoptic calibrate`: write a model file whose scores say how often they are right."""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panoptic_ros.cli.arguments import add_data, add_model_output, add_unknown, whole
from panoptic_ros.cli.model_source import MODEL_HELP, model_argument, model_path
from panoptic_ros.cli.output import check_output, report_saved
from panoptic_ros.cli.quantize import spread
from panoptic_ros.core.model_file import info_from_onnx, load_onnx, require_model_name
from panoptic_ros.core.progress import with_bar
from panoptic_ros.core.text import counted

if TYPE_CHECKING:
    from panoptic_training.calibration import Fit

LEAST_IMAGES = 2
"""Least number of images: each half needs one."""

TITLES = {'score': 'segments', 'confidence': 'pixels'}
"""What has the probabilities of an output."""


def add_parser(subparsers: Any) -> None:
    """Add the command to `panoptic`."""
    parser = subparsers.add_parser(
        'calibrate',
        help='write a model file whose scores are probabilities',
        description='Measures on images of the split val how often segments and pixels are right, '
        'and writes a model file whose scores and confidence map agree with that (Platt scaling, '
        'a temperature and a shift). A segment is right if its class is and its IoU with a '
        'labelled segment is over one half. The scaling is fitted on every other image; the '
        'expected calibration error before and after is measured on the others. The file finds '
        'the same segments as before. An output that does not get better stays as it is.',
        epilog='example:\n  panoptic calibrate city.onnx --data synthetic -o city_calibrated.onnx',
    )
    parser.add_argument(
        'model', type=model_argument, metavar='MODEL', help=f'{MODEL_HELP}, not calibrated yet'
    )
    add_data(parser)
    parser.add_argument(
        '--images',
        type=whole(LEAST_IMAGES),
        default=200,
        metavar='N',
        help='most images, spread evenly over the split (default: %(default)s)',
    )
    parser.add_argument(
        '--plot',
        type=Path,
        metavar='FILE',
        help='also write a reliability diagram, a PNG; needs the extra report',
    )
    add_unknown(parser)
    add_model_output(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Measure, fit and write the file.

    Raises:
        ValueError: if the model is calibrated already, does not fit the data, or no output gets
            better.
        OSError: if a file cannot be read or written.
    """
    require_model_name(args.output)
    for flag in ('output', 'plot'):
        check_output(args, flag)
    if args.plot:
        if args.plot.suffix != '.png':
            raise ValueError(f'--plot writes a PNG, expected a name in .png, got {args.plot.name}')
        require_matplotlib()
    from panoptic_ros.runtime.calibrated_graph import add_calibration
    from panoptic_ros.runtime.predictor import Predictor
    from panoptic_ros.runtime.self_check import write_with_reference
    from panoptic_training.calibration import fit_all, observe
    from panoptic_training.data.registry import open_reader, resolve_name
    from panoptic_training.evaluation.predictor import open_predictor

    args.model = model_path(args.model)
    model = load_onnx(args.model)
    info = info_from_onnx(model, args.model)
    if info.calibration:
        raise ValueError(
            f'{args.model} is calibrated already; calibrate the file that it was made from'
        )
    info.with_unknown(dict(args.unknown))  # finds a wrong class before the work
    data = resolve_name(args.data)
    reader = open_reader(data, 'val')
    if info.network_labels.names != reader.labels.names:
        raise ValueError(
            f'{args.model} has the classes {", ".join(info.network_labels.names)}; {data} has '
            f'{", ".join(reader.labels.names)}; calibrate with data that has those of the model'
        )
    indices = spread(len(reader), args.images)
    if len(indices) < LEAST_IMAGES:
        raise ValueError(
            f'{data} has {counted(len(indices), "image")} in its split val, expected at least '
            f'{LEAST_IMAGES}'
        )
    backend = open_predictor(args.model, 'onnxruntime').backend
    predictor = Predictor(backend, info.with_unknown({}))
    samples = (reader.read(index, 0) for index in indices)
    fitted, held_out = observe(predictor, with_bar(samples, len(indices), 'images measured'))
    fits, reasons = fit_all(fitted, held_out)
    print_fits(fits)
    kept = {name: fit.scaling for name, fit in fits.items() if fit.is_better}
    reasons += [
        f'the error of the {TITLES[name]} gets no smaller' for name in fits if name not in kept
    ]
    if not kept:
        raise ValueError(f'nothing is calibrated and nothing written: {"; ".join(reasons)}')
    if args.plot:
        from panoptic_training.reliability_plot import write_plot

        write_plot({TITLES[name]: fit for name, fit in fits.items()}, args.plot)
    info = replace(add_calibration(model, info, kept), name=args.output.stem)
    if args.unknown:
        info = info.with_unknown(dict(args.unknown))
    model.ClearField('metadata_props')
    write_with_reference(model.SerializeToString(), info, args.output)
    for reason in reasons:
        print(f'not calibrated: {reason}')
    changed = ' and '.join(TITLES[name] for name in kept)
    report_saved(f'{info.name}: {changed} calibrated', args.output, args.plot)


def require_matplotlib() -> None:
    """Refuse a plot, before the work, where matplotlib is not installed."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f'--plot needs matplotlib ({error}): pip install "panoptic_ros[report]"'
        ) from None


def print_fits(fits: Mapping[str, 'Fit']) -> None:
    """Print the calibration errors on the held-out images and the scalings."""
    if fits:
        print(
            f'{"held-out half":13} {"number":>11} {"before":>7} {"after":>7} {"temperature":>12} '
            f'{"shift":>6}'
        )
    for name, fit in fits.items():
        print(
            f'{TITLES[name]:13} {fit.before.number.sum():11.0f} {100 * fit.before.error:6.2f}% '
            f'{100 * fit.after.error:6.2f}% {fit.scaling.temperature:12.3f} '
            f'{fit.scaling.shift:+6.2f}'
        )
    for name, fit in fits.items():
        if fit.is_at_limit:
            print(
                f'warning: the scaling of the {TITLES[name]} ended at a limit of its range; too '
                'few of them are wrong, or too few right: give more images'
            )
