# SPDX-License-Identifier: Apache-2.0
"""`panoptic tune-decoder`: search of a model's thresholds on labelled images."""

import argparse
from typing import Any

from panoptic_ros.cli.arguments import (
    add_backend,
    add_data,
    add_folder_output,
    add_images,
    parse_slice,
    whole,
)
from panoptic_ros.cli.model_source import add_trained_model, model_path
from panoptic_ros.cli.output import check_output, report_saved
from panoptic_ros.core.files import write_json
from panoptic_ros.core.outputs import Results
from panoptic_ros.core.progress import with_bar
from panoptic_ros.core.text import counted

RESULTS = Results(('tuning.json', 'trials.db', 'thresholds.json'))
"""Files of a search: what it depends on, its trials, and the best thresholds."""


def add_parser(subparsers: Any) -> None:
    """Add the command to `panoptic`."""
    parser = subparsers.add_parser(
        'tune-decoder',
        help="search a model's thresholds on labelled images",
        description='Searches the thresholds of the decoding that give the best PQ on labelled '
        'images, with Optuna, and prints them as `panoptic export --set` and `panoptic evaluate '
        '--set` take them. The model is run in each trial; trials with low scores end early. '
        'Score the result on other images than those of the search. An interrupted search '
        'resumes.',
        epilog='-o collects these files:\n'
        '  thresholds.json   the best thresholds (areas in input px) and their PQ\n'
        '  trials.db         all trials, a database of Optuna\n'
        '  tuning.json       what the search depends on\n\n'
        'example:\n'
        '  panoptic tune-decoder --model city.onnx --data synthetic --images ::2 -o tuned\n'
        '  panoptic evaluate --model city.onnx --data synthetic --images 1::2 \\\n'
        '      --set score_threshold=0.7 min_area=50',
    )
    add_trained_model(parser)
    add_data(parser)
    add_images(parser)
    parser.add_argument(
        '--trials',
        type=whole(1),
        default=100,
        metavar='N',
        help='total number, including earlier calls (default: %(default)s)',
    )
    add_backend(parser)
    add_folder_output(parser, 'folder of the search, see below')
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Search, print and write the best thresholds.

    Raises:
        ValueError: if model and data do not fit together, no image is left, or the folder holds
            another search.
        OSError: if a file cannot be read or written.
        BackendError: if the backend or the device is not available.
    """
    check_output(args, 'output', RESULTS)
    chosen = parse_slice(args.images) if args.images is not None else slice(None)
    from panoptic_ros.core.result_folder import open_result_folder
    from panoptic_ros.runtime.load import fingerprint
    from panoptic_training.data.class_table import require_same_classes
    from panoptic_training.data.registry import open_reader, resolve_name
    from panoptic_training.decoder_tuning import tune
    from panoptic_training.evaluation.predictor import open_predictor
    from panoptic_training.evaluation.run import short_hash

    data = resolve_name(args.data)
    reader = open_reader(data, args.split)
    args.model = model_path(args.model)
    predictor = open_predictor(args.model, args.backend, args.device)
    require_same_classes(predictor.info.network_labels, str(args.model), reader.labels, data)
    indices = range(len(reader))[chosen][: args.limit]
    if not indices:
        raise ValueError(f'--images leaves none of the {counted(len(reader), "image")}')
    settings = {
        **fingerprint(args.model, predictor),
        'data': data.partition(':')[0],
        'split': args.split,
        'images': short_hash(reader.image_ids[index] for index in indices),
    }
    with open_result_folder(args.output, settings, 'tuning.json', 'decoder search'):
        samples = [reader.read(i, 0) for i in with_bar(indices, len(indices), 'images read')]
        searched = tune(predictor, samples, args.output / 'trials.db', args.trials)
        *_, best = with_bar(searched, args.trials, 'trials')
        write_json(
            {'thresholds': best.thresholds, 'pq': best.pq, 'trials': args.trials},
            args.output / 'thresholds.json',
        )
    print(f'PQ {best.pq:.1f} on the {counted(len(indices), "image")} of the search')
    print('--set ' + ' '.join(f'{name}={value:g}' for name, value in best.thresholds.items()))
    report_saved(f'best of {counted(args.trials, "trial")}', args.output, names=RESULTS.names[2:])
