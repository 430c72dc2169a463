# SPDX-License-Identifier: Apache-2.0
"""`panoptic export`: write a model file from a checkpoint, a recipe or another model."""

import argparse
import sys
from pathlib import Path
from typing import Any

from panoptic_ros.cli.arguments import add_model_output, add_unknown, read_changes, whole
from panoptic_ros.cli.foreign import ONNX, add_flags, add_from, check_sources, wrap_networks
from panoptic_ros.cli.model_source import prepare_transformers
from panoptic_ros.cli.output import check_output, report_saved
from panoptic_ros.core.card import CARD_FIELDS, read_card
from panoptic_ros.core.documents import read_json
from panoptic_ros.core.inputs import CHECKPOINT
from panoptic_ros.core.model_file import read_info, require_model_name
from panoptic_ros.core.model_info import MAX_BATCH
from panoptic_ros.core.progress import working

MOST_INSTANCES = 4096
"""Largest `--top-k`: decoding compares each instance with each cell, which takes memory."""


def add_parser(subparsers: Any) -> None:
    """Add the command to `panoptic`."""
    parser = subparsers.add_parser(
        'export',
        help='write a model file from a training checkpoint',
        usage='%(prog)s (--checkpoint FILE | --model FILE | --from PLACE |\n'
        '                        --recipe RECIPE --untrained) -o FILE [options]',
        description='Writes one ONNX file with network, decoding, labels and all metadata of the '
        'node.\n--stride sets the decoding stride: 4 or 2 for CPUs, 1 for GPUs.',
        epilog='examples:\n'
        '  panoptic export --checkpoint runs/city/checkpoints/best.ckpt -o city.onnx\n'
        '  panoptic export --model city.onnx --input-size 512 1024 -o city_512.onnx\n'
        '  panoptic export --recipe hle_mobilenetv2_camvid --untrained -o empty.onnx\n'
        '  panoptic export --input-size 512 1024 -o m2f.onnx \\\n'
        '      --from hf:facebook/mask2former-swin-tiny-cityscapes-panoptic\n'
        '  panoptic export --from onnx:yolo11n-seg.onnx --format yolo-seg -o yolo.onnx\n'
        '  panoptic export --from onnx:yolo11n-seg.onnx --format yolo-seg \\\n'
        '      --from onnx:street.onnx --format semantic --classes street.yaml \\\n'
        '      -o both.onnx',
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        '--checkpoint', type=Path, metavar='FILE', help='a checkpoint of `panoptic train`'
    )
    source.add_argument(
        '--model',
        type=Path,
        metavar='FILE',
        help='a model file to export again with other settings',
    )
    source.add_argument(
        '--recipe',
        metavar='RECIPE',
        help='a name of `panoptic list recipes`, or a YAML file; with --untrained',
    )
    add_from(source)
    add_flags(parser)
    parser.add_argument(
        '--untrained', action='store_true', help='random weights, for measuring speed'
    )
    add_model_output(parser)
    parser.add_argument('--name', default='', help="name of the model (default: the file's)")
    parser.add_argument(
        '--scores',
        type=Path,
        metavar='FILE',
        help='scores for the metadata: a file that `panoptic evaluate --json FILE` wrote',
    )
    add_unknown(parser)
    parser.add_argument(
        '--card',
        metavar='FILE',
        help=f'model card for the metadata: a YAML file with some of {", ".join(CARD_FIELDS)}, or '
        'the name of a shipped one (city). Without it --model keeps the card of its file, and '
        '--from takes licence and data sets from the README.md of the checkpoint, or the licence '
        'from the metadata of the ONNX file',
    )
    parser.add_argument(
        '--input-size',
        type=whole(1),
        nargs=2,
        metavar=('H', 'W'),
        help='network input, px (default: that of the training)',
    )
    parser.add_argument(
        '--batch',
        type=whole(1, MAX_BATCH),
        default=1,
        metavar='N',
        help='number of images that the graph takes at once, for a node with N cameras on a GPU; '
        'fewer images take as long as N (default: %(default)s)',
    )
    parser.add_argument(
        '--stride',
        type=int,
        choices=(1, 2, 4),
        metavar='N',
        help="input pixels per cell of the decoded maps: 1, 2 or 4 (default: the model's)",
    )
    parser.add_argument(
        '--top-k',
        type=whole(1, MOST_INSTANCES),
        metavar='N',
        help=f"most instances in an image, 1 to {MOST_INSTANCES} (default: the model's)",
    )
    parser.add_argument(
        '--set',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        dest='changes',
        help='other keys of the decoding, e.g. score_threshold=0.7 refine=1; '
        '`network` in a recipe lists them',
    )
    parser.add_argument(
        '--precision',
        choices=('fp32', 'fp16'),
        default='fp32',
        help='number format of the network; with fp16 decoding stays in fp32, and so do layers '
        'whose values fp16 might not hold (default: %(default)s)',
    )
    parser.add_argument(
        '--weights',
        choices=('fp32', 'fp16'),
        default='fp32',
        help='number format of the stored weights; fp16 halves the file, which ONNX limits to '
        '2 GiB, and leaves the computation as it is (default: %(default)s)',
    )
    parser.add_argument(
        '--roi-align',
        choices=('roialign', 'gridsample'),
        default='roialign',
        help='operator that pools boxes in the two-stage families; gridsample is for engines '
        'without RoiAlign, and slower in ONNX Runtime. The TensorRT backends make it themselves '
        '(default: %(default)s)',
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Write the model file.

    Raises:
        ValueError: for an invalid source or setting.
        FileNotFoundError: for a missing source.
    """
    if bool(args.recipe) != args.untrained:
        raise ValueError('--recipe and --untrained go together: a recipe has no weights')
    check_sources(args.sources)
    require_model_name(args.output)
    check_output(args, 'output')
    settings = {
        'name': args.name or args.output.stem,
        'half_weights': args.weights == 'fp16',
        'precision': args.precision,
        'grid_sample': args.roi_align == 'gridsample',
        'batch': args.batch,
        'stride': args.stride,
        'top_k': args.top_k,
        'scores': read_scores(args.scores) if args.scores else {},
    }
    if args.card is not None:
        from panoptic_ros.cli.recipes import find_model_card

        settings['card'] = read_card(find_model_card(args.card))
    if args.unknown:
        settings['unknown'] = dict(args.unknown)
    changes = read_changes(args.changes)
    if own_flag := sorted(set(changes) & set(settings)):
        raise ValueError(f'--set: {own_flag[0]} has a flag of its own')
    settings |= changes
    size = (args.input_size[0], args.input_size[1]) if args.input_size else None
    if args.sources and args.sources[0]['source'].startswith(ONNX):
        with working('exporting'):
            info = wrap_networks(args.sources, args.output, size, settings)
    else:
        info = export_module(args, size, settings)
    height, width = info.input_size
    report_saved(
        f'{info.name}: {info.family}, input {height}x{width}, stride {info.stride}, '
        f'{f"batch {info.batch}, " if info.batch > 1 else ""}'
        f'{info.precision}, {len(info.labels)} classes, {args.output.stat().st_size / 1e6:.1f} MB',
        args.output,
    )


def export_module(
    args: argparse.Namespace, size: tuple[int, int] | None, settings: dict[str, Any]
) -> Any:
    """Write the model file of a module, and return its metadata.

    Args:
        args: of the command.
        size: (height, width) that the user chose, px.
        settings: keyword arguments of `export_model`.
    """
    from panoptic_training.export import export_model

    own_size: tuple[int, int] | None
    if args.checkpoint:
        module, own_size, settings['recipe_hash'] = open_training(args.checkpoint)
    elif args.model:
        module, source = load_model(args.model)
        own_size, settings['recipe_hash'] = source.input_size, source.recipe_hash
        settings.setdefault('card', source.card)
        settings.setdefault('unknown', {} if source.calibration else source.unknown)
        if source.calibration:
            print(
                f'{args.model} is calibrated; the new file is not and has no least scores of its '
                'classes, since its settings may change the scores; see `panoptic calibrate`',
                file=sys.stderr,
            )
    elif args.sources:
        given = args.sources[0]
        module, own_size, card = open_checkpoint(
            given['source'], given.get('things', []), given.get('classes')
        )
        settings.setdefault('card', card)
    else:
        module, own_size = build_untrained(args.recipe)
    chosen = size or own_size
    if chosen is None:
        raise ValueError(
            'this checkpoint scales images by their own shape; '
            "choose the network's input with --input-size H W"
        )
    with working('exporting'):
        return export_model(module, args.output, chosen, **settings)


def read_scores(path: Path) -> dict[str, float]:
    """Read the headline scores of a file that `panoptic evaluate --json` wrote, in percent.

    Raises:
        ValueError: for a file that is not such a file.
    """
    values = read_json(path)
    try:
        return headline_scores(values)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f'{path} is not a file that `panoptic evaluate --json` wrote: it lacks {error}'
        ) from None


def headline_scores(values: dict[str, Any]) -> dict[str, float]:
    """Return the scores that a model file's metadata holds, in percent, from all of them."""
    return {
        'pq': float(values['all']['pq']),
        'pq_thing': float(values['things']['pq']),
        'pq_stuff': float(values['stuff']['pq']),
        'miou': float(values['semantic']['miou']),
    }


def open_training(path: Path) -> tuple[Any, tuple[int, int], str]:
    """Return the module of a training's checkpoint, its input size and its recipe's hash."""
    from panoptic_training.checkpoint import load_checkpoint

    model, checkpoint = load_checkpoint(path)
    settings = checkpoint['hyper_parameters']
    height, width = settings['input_size']
    return model, (height, width), settings.get('recipe_hash', '')


def load_model(path: Path) -> tuple[Any, Any]:
    """Return the module of a model file with its weights, and the file's metadata."""
    from panoptic_ros.models.registry import build_model
    from panoptic_ros.runtime.torch_backend import load_weights

    info = read_info(path)
    module = build_model(info)
    load_weights(module, path)
    return module, info


def open_checkpoint(
    source: str, things: list[str], classes: Path | None
) -> tuple[Any, tuple[int, int] | None, dict[str, str]]:
    """Return the module of a checkpoint `hf:<place>`, its input size if it has one, its card."""
    prepare_transformers(source)
    from panoptic_training.huggingface.checkpoint import open_transformers
    from panoptic_training.huggingface.hub import card_of, fetch

    folder, _ = fetch(source.removeprefix(CHECKPOINT))
    return *open_transformers(str(folder), things, classes), card_of(folder)


def build_untrained(recipe_name: str) -> tuple[Any, tuple[int, int]]:
    """Build a recipe's module with random weights, and return it with its input size.

    Needs no data on disk, except for data whose folder names the classes.

    Raises:
        FileNotFoundError: for a missing recipe.
        ValueError: for a recipe without family, data set or input size.
    """
    from panoptic_ros.cli.recipes import find_recipe, read_recipe
    from panoptic_ros.models.registry import build
    from panoptic_training.data.registry import labels_of

    path = find_recipe(recipe_name)
    recipe = read_recipe(path)
    try:
        family, network = recipe['model']['family'], recipe['model'].get('network', {})
        dataset, (height, width) = recipe['data']['dataset'], recipe['data']['input_size']
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ValueError(
            f'{path} is not a complete recipe: expected the keys model.family, data.dataset and '
            'data.input_size, [height, width]'
        ) from None
    return build(family, labels_of(dataset), **network), (height, width)
