"""`panoptic evaluate`: score a model, or predictions on disk, on labelled images."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panoptic_ros.cli.output import check_folder, with_bar, write_json

if TYPE_CHECKING:
    from panoptic_ros.runtime.predictor import Predictor
    from panoptic_training.data.sample import Reader
    from panoptic_training.predictions import PredictionStore

EPILOG = '''examples:
  panoptic evaluate --model city.onnx --data synthetic
  panoptic evaluate --model runs/camvid/checkpoints/best.ckpt --data camvid:data/camvid \\
      --split test -o camvid_test
  panoptic evaluate --predictions theirs.json --data cityscapes:data/cityscapes -o theirs

-o collects, and the same command goes on where it was stopped:
  scores.json per_class.csv images.csv   scores: all, by class, by image
  predictions.json predictions/          COCO panoptic format, with the set's own ids
  submission/                            the zip for the server of COCO or Cityscapes
  worst/                                 the worst images, ground truth and prediction

--predictions takes a JSON file in COCO panoptic format with its PNGs in the folder of the same
name; or a folder of PNGs of one channel, named like the images, whose pixels are category ids,
or 1000 times the category id plus the instance's number, as in Cityscapes.'''


def add_parser(subparsers: Any) -> None:
    """Adds the command to `panoptic`."""
    parser = subparsers.add_parser(
        'evaluate', help='score a model on labelled images',
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description='Runs a model file on a data set just as the node would, and prints PQ, SQ, '
                    'RQ and mIoU in percent,\nwith panopticapi\'s rules for void and crowd, at '
                    'the resolution of the labels.', epilog=EPILOG)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument('--model', type=Path, metavar='FILE',
                        help='a model file (.onnx), or a checkpoint of `panoptic train` (.ckpt)')
    source.add_argument('--predictions', type=Path, metavar='PATH',
                        help='score these predictions; no model is run')
    parser.add_argument('--data', required=True, metavar='DATA',
                        help='synthetic, or a data set and its folder: camvid:<folder>')
    parser.add_argument('--split', default='val', choices=('train', 'val', 'test'),
                        help='which part of the data (default: %(default)s)')
    parser.add_argument('--limit', type=int, metavar='N', help='score only the first N images')
    parser.add_argument('-o', '--output', type=Path, metavar='DIR',
                        help='collect tables, predictions and pictures here, see below')
    parser.add_argument('--worst', type=int, default=8, metavar='N',
                        help='how many pictures of the worst images (default: %(default)s)')
    parser.add_argument('--backend', default='auto',
                        help='what runs a model file (default: %(default)s)')
    parser.add_argument('--device', default='auto',
                        help='auto, cpu, cuda or cuda:N (default: %(default)s)')
    parser.add_argument('--oracle', action='store_true',
                        help='for checkpoints of family ciae: take boxes and queries of '
                             'instances from the labels, which gives an upper limit')
    parser.add_argument('--relations', type=Path, metavar='FILE',
                        help='for checkpoints of family sognet: write here which predicted '
                             'instance lies on which')
    parser.add_argument('--json', type=Path, metavar='FILE',
                        help='write the scores here too, with those of each class')
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Scores, prints the tables and writes the files.

    Raises:
        ValueError, OSError, BackendError: in one line, when model and data cannot be used.
    """
    for flag, least in (('limit', 1), ('worst', 0)):
        value = getattr(args, flag)
        if value is not None and value < least:
            raise ValueError(f'--{flag} must be at least {least}, got {value}')
    if args.oracle and args.predictions:
        raise ValueError('--oracle needs a --model')
    for flag in ('json', 'relations', 'output'):
        check_folder(getattr(args, flag), f'--{flag}')
    from panoptic_training.data.readers import open_reader, with_hidden
    from panoptic_training.evaluation import Evaluation, model_source
    from panoptic_training.predictions import open_predictions
    from panoptic_training.predictor import open_predictor
    from panoptic_training.relations import RelationScores, predicted_relations, relation_model
    from panoptic_training.report import write_report

    reader = open_reader(args.data, args.split)
    count = min(len(reader), args.limit or len(reader))
    predictor = None if args.predictions else open_predictor(args.model, args.backend, args.device)
    if predictor and predictor.info.labels.names != reader.labels.names:
        raise ValueError(f'{args.model} has the classes {", ".join(predictor.info.labels.names)}; '
                         f'{args.data} has {", ".join(reader.labels.names)}')
    source = model_source(predictor, args.oracle) if predictor else open_predictions(
        args.predictions, reader.labels, reader.image_ids)
    related = relation_model(predictor) if predictor else None
    if args.relations and related is None:
        raise ValueError('--relations needs a checkpoint (.ckpt) of family sognet with relations, '
                         f'got {args.model or args.predictions}')
    overlaps, relations = None, []
    if related:
        reader, overlaps = with_hidden(reader, args.data, args.split), RelationScores(related)
    store = open_store(args, reader, predictor) if args.output else None
    if store and store.annotations:
        print(f'{args.output}: going on, {len(store.annotations)} images are predicted',
              file=sys.stderr)
    evaluation = Evaluation(reader, source, count, store)
    for index, sample, _ in with_bar(evaluation.run(), count, 'images scored'):
        if overlaps:
            overlaps.update(sample)
        if args.relations and related and predictor:
            relations.append({'index': index, 'pairs': predicted_relations(predictor, related,
                                                                           sample)})
    print(evaluation.scores.format())
    accuracy = overlaps.accuracy.result() if overlaps else float('nan')
    if not math.isnan(accuracy):
        print(f'overlap accuracy {accuracy:.1f}')
    about = describe(args, predictor)
    if args.relations:
        write_json({'model': about['model'], 'data': args.data, 'split': args.split,
                    'images': relations}, args.relations)
    scores = {**about, 'images': count, **evaluation.scores.to_dict(),
              'overlap': {'accuracy': None if math.isnan(accuracy) else accuracy}}
    if args.json:
        write_json(scores, args.json)
    if args.output:
        write_report(evaluation, scores, args.worst, args.output)
        print(f'written to {args.output}')


def describe(args: argparse.Namespace, predictor: Predictor | None) -> dict[str, Any]:
    """What was scored, for the JSON file."""
    what: dict[str, Any] = {'data': args.data, 'split': args.split}
    if predictor is None:
        return {'predictions': str(args.predictions), **what}
    info, backend = predictor.info, predictor.backend
    return {'model': info.name, 'recipe_hash': info.recipe_hash, **what, 'oracle': args.oracle,
            'backend': backend.name, 'device': backend.device, 'input_size': info.input_size,
            'stride': info.stride}


def open_store(args: argparse.Namespace, reader: Reader, predictor: Predictor | None,
               ) -> PredictionStore | None:
    """Takes the output folder; a model's predictions are kept in it."""
    from panoptic_ros.bundle import file_hash
    from panoptic_training.evaluation import claim, names_hash
    from panoptic_training.predictions import PredictionStore

    data = {'data': args.data.partition(':')[0], 'split': args.split, 'images': names_hash(reader)}
    if predictor is None:
        claim(args.output, {'model': f'predictions {args.predictions.resolve()}', **data})
        return None
    backend = predictor.backend
    claim(args.output, {'model': file_hash(args.model), **data, 'backend': backend.name,
                        'precision': backend.precision, 'oracle': args.oracle})
    return PredictionStore(args.output, reader.labels, reader.image_ids)
