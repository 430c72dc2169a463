"""`panoptic evaluate`: score a model on labelled images."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panoptic_ros.cli.output import check_folder, with_bar, write_json

if TYPE_CHECKING:
    from panoptic_ros.frame import PanopticFrame
    from panoptic_ros.runtime.predictor import Predictor
    from panoptic_training.data.sample import Sample


def add_parser(subparsers: Any) -> None:
    """Adds the command to `panoptic`."""
    parser = subparsers.add_parser(
        'evaluate', help='score a model on labelled images',
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description='Runs a model file on a data set just as the node would, and prints PQ, SQ, '
                    'RQ and mIoU in percent,\nwith panopticapi\'s rules for void and crowd, at '
                    'the resolution of the labels.',
        epilog='examples:\n'
               '  panoptic evaluate --model city.onnx --data synthetic\n'
               '  panoptic evaluate --model runs/camvid/checkpoints/best.ckpt '
               '--data camvid:data/camvid --split test --json scores.json')
    parser.add_argument('--model', type=Path, required=True, metavar='FILE',
                        help='a model file (.onnx), or a checkpoint of `panoptic train` (.ckpt)')
    parser.add_argument('--data', required=True, metavar='DATA',
                        help='synthetic, or a data set and its folder: camvid:<folder>')
    parser.add_argument('--split', default='val', choices=('train', 'val', 'test'),
                        help='which part of the data (default: %(default)s)')
    parser.add_argument('--limit', type=int, metavar='N', help='score only the first N images')
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
    """Scores, prints the tables and writes the JSON file.

    Raises:
        ValueError, OSError, BackendError: in one line, when model and data cannot be used.
    """
    if args.limit is not None and args.limit < 1:
        raise ValueError(f'--limit must be at least 1, got {args.limit}')
    check_folder(args.json, '--json')
    check_folder(args.relations, '--relations')
    from panoptic_ros.image import CameraImage
    from panoptic_training.data.readers import open_reader, with_hidden
    from panoptic_training.relations import RelationScores, predicted_relations, relation_model
    from panoptic_training.scoring import Scores

    reader = open_reader(args.data, args.split)
    predictor = open_predictor(args.model, args.backend, args.device)
    info = predictor.info
    if info.labels.names != reader.labels.names:
        raise ValueError(f'{args.model} has the classes {", ".join(info.labels.names)}; '
                         f'{args.data} has {", ".join(reader.labels.names)}')
    if args.oracle:
        from panoptic_training.oracle import make_oracle

        predict = make_oracle(predictor)
    else:
        def predict(sample: Sample) -> PanopticFrame:
            return predictor.predict(CameraImage(sample.image, 'rgb'), stamp_s=0)
    scores, related = Scores(reader.labels, full=True), relation_model(predictor)
    if args.relations and related is None:
        raise ValueError('--relations needs a checkpoint (.ckpt) of family sognet with relations, '
                         f'got {args.model}')
    overlaps, relations = None, []
    if related:
        reader, overlaps = with_hidden(reader, args.data, args.split), RelationScores(related)
    count = min(len(reader), args.limit or len(reader))
    for index in with_bar(range(count), count, 'images scored'):
        sample = reader.read(index, 0)
        scores.update(sample, predict(sample))
        if overlaps:
            overlaps.update(sample)
        if args.relations and related:
            relations.append({'index': index, 'pairs': predicted_relations(predictor, related,
                                                                           sample)})
    print(scores.format())
    accuracy = overlaps.accuracy.result() if overlaps else float('nan')
    if not math.isnan(accuracy):
        print(f'overlap accuracy {accuracy:.1f}')
    if args.relations:
        write_json({'model': info.name, 'data': args.data, 'split': args.split,
                    'images': relations}, args.relations)
    if args.json:
        write_json({'model': info.name, 'recipe_hash': info.recipe_hash, 'data': args.data,
                    'split': args.split, 'images': count, 'oracle': args.oracle,
                    'backend': predictor.backend.name, 'device': predictor.backend.device,
                    'input_size': info.input_size, 'stride': info.stride, **scores.to_dict(),
                    'overlap': {'accuracy': None if math.isnan(accuracy) else accuracy}},
                   args.json)


def open_predictor(path: Path, backend: str, device: str) -> Predictor:
    """A model file on the backend asked for, or a checkpoint's module in torch."""
    from panoptic_ros.runtime.predictor import Predictor

    if path.suffix != '.ckpt':
        from panoptic_ros.bundle import read_info
        from panoptic_ros.runtime.select import open_backend

        return Predictor(open_backend(path, backend, device), read_info(path))
    if backend not in ('auto', 'torch') or device not in ('auto', 'cpu'):
        raise ValueError('a checkpoint is scored with torch on the CPU; '
                         'make a model file of it with `panoptic export`')
    from panoptic_training.backend import ModuleBackend, describe
    from panoptic_training.export import load_checkpoint

    model, checkpoint = load_checkpoint(path)
    settings = checkpoint['hyper_parameters']
    return Predictor(ModuleBackend(model), describe(
        model, tuple(settings['input_size']), path.stem, settings['recipe_hash']))
