# SPDX-License-Identifier: Apache-2.0
"""`panoptic evaluate`: score a model, or predictions on disk, on labelled images."""

import argparse
import math
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from panoptic_ros.cli.arguments import (
    add_backend,
    add_data,
    add_images,
    number,
    parse_slice,
    read_changes,
    whole,
)
from panoptic_ros.cli.model_source import MODEL_HELP, model_argument, model_path
from panoptic_ros.cli.output import OWN_COLORS, check_output, report_saved
from panoptic_ros.cli.recipes import find_class_mapping
from panoptic_ros.core.files import write_json
from panoptic_ros.core.outputs import Results
from panoptic_ros.core.progress import with_bar
from panoptic_ros.core.text import counted

CITY_CLIP = 20
"""Images per street of the synthetic city that form a video."""

EPILOG = """\
-o collects these files, and the same command resumes one that was stopped:
  scores.json per_class.csv images.csv   scores: all, by class, by image
  predictions.json predictions/          COCO panoptic format, with the ids of
                                         the data and PNGs named like the
                                         images; with --classes in the classes
                                         of the model
  submission/                            for COCO and Cityscapes themselves, the
                                         zip for their server; with --split test
                                         for COCO's test-dev, whose images have
                                         no annotations
  worst/                                 the worst images, ground truth and
                                         prediction
  browse/index.html                      page of the errors: confusion matrix of
                                         classes, PQ by size, images to sort and
                                         filter by PQ, class and kind of error
  debug_maps/                            with --debug-maps: class and centres
                                         before and after the block, below
                                         them the first four instances

--predictions takes a JSON file in COCO panoptic format with its PNGs in the folder of the same
name; or a folder of PNGs of one channel, named like the images, whose pixels are category ids,
or 1000 times the category id plus the instance's number, as in Cityscapes.

examples:
  panoptic evaluate --model city.onnx --data synthetic
  panoptic evaluate --model runs/camvid/checkpoints/best.ckpt \\
      --data camvid:data/camvid --split test -o camvid_test
  panoptic evaluate --model coco.onnx --data coco:data/coco --split test -o dev
  panoptic evaluate --predictions theirs.json \\
      --data cityscapes:data/cityscapes -o theirs
  panoptic evaluate --model city.onnx --data synthetic --track 20 -o city_video
  panoptic evaluate --model city.onnx --data camvid:data/camvid \\
      --classes camvid_city"""


def add_parser(subparsers: Any) -> None:
    """Add the command to `panoptic`."""
    parser = subparsers.add_parser(
        'evaluate',
        help='score a model on labelled images',
        description='Runs a model file on a data set just as the node would, and prints PQ, SQ, '
        "RQ, mIoU, AP and more in percent,\nwith panopticapi's rules for void and "
        'crowd, at the resolution of the labels.',
        epilog=EPILOG,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        '--model',
        type=model_argument,
        metavar='MODEL',
        help=f'{MODEL_HELP}, or a checkpoint of `panoptic train` (.ckpt)',
    )
    source.add_argument(
        '--predictions', type=Path, metavar='PATH', help='score these predictions; no model is run'
    )
    add_data(parser)
    add_images(parser)
    parser.add_argument(
        '--classes',
        metavar='MAPPING',
        help="score in the model's classes, where the data has others: a YAML file of lines "
        '`data class: model class`, or the name of a shipped one (camvid_city); '
        'the other classes of the data are void',
    )
    parser.add_argument(
        '-o',
        '--output',
        type=Path,
        metavar='DIR',
        help='folder for tables, predictions and pictures, see below',
    )
    parser.add_argument(
        '--worst',
        type=whole(0),
        default=8,
        metavar='N',
        help='number of pictures of the worst images (default: %(default)s)',
    )
    parser.add_argument('--own-colors', action='store_true', help=OWN_COLORS)
    parser.add_argument(
        '--set',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        dest='changes',
        help="other thresholds than the model's, as `panoptic tune-decoder` finds them; areas in "
        'input px',
    )
    add_backend(parser)
    parser.add_argument(
        '--track',
        type=number(above=0),
        nargs='?',
        const=10.0,
        metavar='HZ',
        help='track things through video of HZ images per second (default: '
        "%(const)s) with the node's tracker, and score the tracks",
    )
    parser.add_argument(
        '--oracle',
        action='store_true',
        help='for checkpoints of family ciae: take boxes and queries of '
        'instances from the labels, which gives an upper limit',
    )
    parser.add_argument(
        '--relations',
        type=Path,
        metavar='FILE',
        help='for models of family sognet: file that lists which predicted instance covers which',
    )
    parser.add_argument(
        '--debug-maps',
        metavar='CLASS',
        help='for models of family pisr, with -o: pictures of this class before '
        'and after the block in each of the worst images',
    )
    parser.add_argument(
        '--json',
        type=Path,
        metavar='FILE',
        help='also write the scores, with those of each class, to this file',
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Score, print the tables and write the files.

    Raises:
        ValueError: if an argument is invalid, or model, predictions and data do not fit together.
        OSError: if a file cannot be read or written.
        BackendError: if the backend or the device is not available.
    """
    with ExitStack() as stack:
        _evaluate(args, stack)


def _evaluate(args: argparse.Namespace, stack: ExitStack) -> None:
    """Run the command; the output folder stays locked until the stack is closed."""
    for flag in ('classes', 'oracle', 'relations', 'debug_maps', 'changes'):
        if args.predictions and getattr(args, flag):
            shown = 'set' if flag == 'changes' else flag.replace('_', '-')
            raise ValueError(f'--{shown} needs a --model')
    if args.debug_maps and not args.output:
        raise ValueError('--debug-maps needs a folder: -o')
    chosen = parse_slice(args.images) if args.images is not None else None
    for flag in ('json', 'relations'):
        check_output(args, flag)
    check_output(args, 'output', Results())
    from panoptic_ros.runtime.load import fingerprint
    from panoptic_ros.runtime.predictor import Predictor
    from panoptic_training.data.class_mapping import MappedClasses, read_class_mapping
    from panoptic_training.data.registry import open_reader, resolve_name, with_hidden
    from panoptic_training.evaluation.pisr_pictures import debug_pictures, pisr_model
    from panoptic_training.evaluation.predictions import PredictionStore, open_predictions
    from panoptic_training.evaluation.predictor import describe_run, open_predictor
    from panoptic_training.evaluation.relations import (
        RelationScores,
        predicted_relations,
        relation_model,
    )
    from panoptic_training.evaluation.report import write_report
    from panoptic_training.evaluation.run import Evaluation, model_source, open_folder, short_hash
    from panoptic_training.evaluation.worst import write_pictures

    args.data = resolve_name(args.data)
    video: dict[str, Any] = (
        {'video': True, 'frames_per_clip': CITY_CLIP}
        if (args.track and args.data == 'synthetic')
        else {}
    )
    reader = open_reader(args.data, args.split, **video)
    if args.model is not None:
        args.model = model_path(args.model)
    predictor = None if args.predictions else open_predictor(args.model, args.backend, args.device)
    thresholds = read_changes(args.changes)
    if predictor and thresholds:
        predictor = Predictor(predictor.backend, predictor.info.with_thresholds(thresholds))
    mapping: dict[str, str] = {}
    if predictor and args.classes:
        mapping = read_class_mapping(
            find_class_mapping(args.classes), reader.labels, predictor.info.network_labels
        )
    elif predictor and predictor.info.network_labels.names != reader.labels.names:
        raise ValueError(
            f'{args.model} has the classes {", ".join(predictor.info.network_labels.names)}; '
            f'{args.data} has {", ".join(reader.labels.names)}; '
            '--classes takes a mapping of these to those of the model'
        )
    source = (
        model_source(predictor, args.oracle)
        if predictor
        else open_predictions(
            args.predictions, reader.labels, reader.image_ids, reader.image_names
        )
    )
    related = relation_model(predictor, args.model) if predictor else None
    if args.relations and related is None:
        raise ValueError(
            '--relations needs a model of family sognet with relations, '
            f'got {args.model or args.predictions}'
        )
    block = (
        pisr_model(predictor, args.model, args.debug_maps)
        if (args.debug_maps and predictor)
        else None
    )
    overlaps, relations = None, []
    if related:
        overlaps = RelationScores(related)
        reader = with_hidden(reader, args.data, args.split) if not video else reader
    if predictor and mapping:
        reader = MappedClasses(reader, predictor.info.network_labels, mapping)
    what = {
        'data': args.data,
        'split': args.split,
        'image_slice': args.images,
        'oracle': args.oracle,
        'track': args.track,
        'thresholds': thresholds or None,
    }
    evaluation = Evaluation(reader, source, args.limit, None, args.track, chosen)
    if args.output:
        stack.enter_context(
            open_folder(
                args.output,
                {
                    **(
                        fingerprint(model_path(args.model), predictor)
                        if predictor
                        else {'model': f'predictions {args.predictions.resolve()}'}
                    ),
                    **what,
                    'data': args.data.partition(':')[0],
                    'images': short_hash(reader.image_ids),
                    'class_mapping': short_hash(sorted(mapping.items())) if mapping else None,
                },
            )
        )
        if predictor:
            evaluation.store = PredictionStore(
                args.output, reader.labels, reader.image_ids, reader.image_names
            )
    if evaluation.store and evaluation.store.annotations:
        print(
            f'{args.output}: resuming, '
            f'{counted(len(evaluation.store.annotations), "image")} predicted earlier',
            file=sys.stderr,
        )
    for index, sample in with_bar(evaluation.run(), evaluation.count, 'images scored'):
        if overlaps:
            overlaps.update(sample)
        if args.relations and related and predictor:
            relations.append(
                {'index': index, 'pairs': predicted_relations(predictor, related, sample)}
            )
    print(evaluation.format())
    accuracy = overlaps.accuracy.compute() if overlaps else float('nan')
    if not math.isnan(accuracy):
        print(f'overlap accuracy {accuracy:.1f}')
    if args.relations and predictor:
        write_json(
            {
                'model': predictor.info.name,
                'data': args.data,
                'split': args.split,
                'images': relations,
            },
            args.relations,
        )
    scores = {
        **(describe_run(predictor) if predictor else {'predictions': str(args.predictions)}),
        **what,
        'class_mapping': mapping or None,
        **evaluation.to_dict(),
        'overlap': {'accuracy': None if math.isnan(accuracy) else accuracy},
    }
    if args.json:
        write_json(scores, args.json)
    if args.output:
        write_report(evaluation, scores, args.worst, args.output, args.own_colors)
        if block and predictor:
            write_pictures(
                debug_pictures(block, args.debug_maps, predictor, evaluation, args.worst),
                args.output / 'debug_maps',
            )
    report_saved(
        f'{counted(evaluation.count, "image")} {"scored" if evaluation.labelled else "predicted"}',
        args.output,
        args.json,
        args.relations,
    )
