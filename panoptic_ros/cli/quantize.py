# SPDX-License-Identifier: Apache-2.0
"""`panoptic quantize`: write a model file with its network in int8."""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from panoptic_ros.cli.arguments import add_data, add_model_output, whole
from panoptic_ros.cli.model_source import MODEL_HELP, model_argument, model_path
from panoptic_ros.cli.output import check_output, report_saved
from panoptic_ros.core.model_file import (
    load_onnx,
    read_info,
    reference_from_onnx,
    require_model_name,
    write_model_file,
)
from panoptic_ros.core.progress import with_bar
from panoptic_ros.core.signals import exit_at_sigterm
from panoptic_ros.core.text import counted


def add_parser(subparsers: Any) -> None:
    """Add the command to `panoptic`."""
    parser = subparsers.add_parser(
        'quantize',
        help='write a model file with its network in int8',
        description='Measures the range of each value of the network on images of the split '
        'train, and writes a model file\nwhose layers take inputs and weights in int8. Decoding '
        'stays in fp32. Prints PQ on images of the split val\nbefore and after. The file runs '
        'everywhere; TensorRT makes it faster, ONNX Runtime on CPUs does not.',
        epilog='example:\n  panoptic quantize city.onnx --data synthetic -o city_int8.onnx',
    )
    parser.add_argument(
        'model', type=model_argument, metavar='MODEL', help=f'{MODEL_HELP}, in fp32'
    )
    add_data(parser)
    parser.add_argument(
        '--images',
        type=whole(1),
        default=200,
        metavar='N',
        help='most images to measure on, and to score (default: %(default)s)',
    )
    add_model_output(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Quantise, score both models and write the file.

    Raises:
        ValueError: if the model is not in fp32, or does not fit the data.
        OSError: if a file cannot be read or written.
    """
    require_model_name(args.output)
    check_output(args, 'output')
    from panoptic_training.data.registry import open_reader, resolve_name
    from panoptic_training.quantization import quantize, require_fp32

    args.model = model_path(args.model)
    info = read_info(args.model)
    require_fp32(info, args.model)
    data = resolve_name(args.data)
    train, val = (open_reader(data, split) for split in ('train', 'val'))
    if info.network_labels.names != val.labels.names:
        raise ValueError(
            f'{args.model} has the classes {", ".join(info.network_labels.names)}; {data} has '
            f'{", ".join(val.labels.names)}; quantise with data that the model was trained on'
        )
    indices = spread(len(train), args.images)
    images = (train.read(index, 0).image for index in indices)
    with exit_at_sigterm(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / args.output.name
        info, layers = quantize(
            args.model, with_bar(images, len(indices), 'images measured'), path
        )
        before = score(args.model, val, args.images, 'images scored before')
        after = score(path, val, args.images, 'images scored after')
        scores = after if len(val) <= args.images else {}
        info = replace(info, name=args.output.stem, scores=scores)
        model = load_onnx(path)
        write_model_file(model, info, args.output, reference_from_onnx(model, info, path))
    scored = counted(min(args.images, len(val)), 'image')
    print(f'{"":8} {"before":>7} {"after":>7}')
    for name, title in (('pq', 'PQ'), ('pq_thing', 'things'), ('pq_stuff', 'stuff')):
        print(f'{title:8} {before[name]:7.1f} {after[name]:7.1f}')
    report_saved(
        f'{info.name}: {counted(layers, "layer")} in int8, '
        f'{args.output.stat().st_size / 1e6:.1f} MB, '
        f'PQ {after["pq"] - before["pq"]:+.1f} on {scored}',
        args.output,
    )


def spread(count: int, most: int) -> range:
    """Return the indices of at most `most` of `count` images, spread evenly."""
    return range(count)[:: spacing(count, most)][:most]


def spacing(count: int, most: int) -> int:
    """Return the step that takes at most about `most` of `count` images, spread evenly."""
    return max(1, count // most)


def score(path: Path, reader: Any, most: int, what: str) -> dict[str, float]:
    """Score a model file on images of a split, and return its headline scores in percent."""
    from panoptic_ros.cli.export import headline_scores
    from panoptic_training.evaluation.predictor import open_predictor
    from panoptic_training.evaluation.run import Evaluation, model_source

    evaluation = Evaluation(
        reader,
        model_source(open_predictor(path, 'onnxruntime'), False),
        most,
        chosen=slice(None, None, spacing(len(reader), most)),
    )
    for _ in with_bar(evaluation.run(), evaluation.count, what):
        pass
    return headline_scores(evaluation.to_dict())
