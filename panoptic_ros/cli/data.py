# SPDX-License-Identifier: Apache-2.0
"""`panoptic data`: check, convert and show data sets; see `data_recordings` for recordings."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panoptic_ros.cli.arguments import HelpFormatter, add_folder_output, number, whole
from panoptic_ros.cli.data_recordings import add_from_recording, add_to_gt
from panoptic_ros.cli.output import OWN_COLORS, check_output, report_saved, table_console
from panoptic_ros.cli.recipes import find_recipe, read_recipe, recipe_files
from panoptic_ros.core.files import atomic_write, write_bytes, write_json
from panoptic_ros.core.inputs import require_folder
from panoptic_ros.core.outputs import Results, check_folder
from panoptic_ros.core.progress import with_bar
from panoptic_ros.core.text import counted

if TYPE_CHECKING:
    from panoptic_training.data.check import SplitReport
    from panoptic_training.data.files import FileReader
    from panoptic_training.data.sample import Reader

SPLITS = ('train', 'val', 'test')
NEEDED = ('train', 'val')

LAYOUTS = """DATA is one of
DATA_SETS
or a folder alone, whose layout identifies the data set.

A folder of your own holds
  my_data/images/{train,val}/*.jpg
  my_data/labels/{train,val}/*.png   16 bit: class id * 1000 + instance number
  my_data/classes.yaml
    classes:
      - {id: 1, name: road, kind: stuff}
      - {id: 2, name: car, kind: thing}
    ignore: [255]                    further ids of pixels without a label
or is in COCO's panoptic format, which `panoptic data convert` writes:
  my_data/{train,val}.json
  my_data/panoptic_{train,val}/*.png
  my_data/{train,val}/*.jpg"""

SOURCES = ('polygons', 'semantic', 'data')
"""Flags of `convert` that name the source of the labels."""

FLAGS = {
    'images': ('polygons', 'semantic'),
    'instance': ('semantic',),
    'classes': ('semantic',),
    'background': ('polygons',),
    'crowds_are_objects': ('polygons',),
}
"""Further flags of `convert`, with the sources to which they apply."""


class DataSetFormatter(HelpFormatter):
    """Help formatter that replaces DATA_SETS by the list of the data sets.

    The readers are imported when help is printed, not for every command.
    """

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if 'DATA_SETS' in text:
            try:
                from panoptic_training.data.registry import dataset_list

                listed = dataset_list()
            except ImportError as error:
                listed = f'  (the list needs pip install "panoptic_ros[train]": {error})'
            text = text.replace('DATA_SETS', listed)
        return super()._fill_text(text, width, indent)


def add_parser(subparsers: Any) -> None:
    """Add the command to `panoptic`."""
    parser = subparsers.add_parser(
        'data',
        help='check, convert and show data sets; make them of recordings',
        formatter_class=DataSetFormatter,
        description='Checks a data set before a training, converts other labels to a data set, '
        'shows a data set, makes one of recordings and ground truth of one.',
        epilog=f'{LAYOUTS}\n\nexamples:\n  panoptic data check my_data\n'
        '  panoptic data show my_data --split val -o sheet.png',
    )
    actions = parser.add_subparsers(title='actions', metavar='ACTION ...', required=True)
    _add_check(actions)
    _add_convert(actions)
    _add_show(actions)
    add_from_recording(actions)
    add_to_gt(actions)


def _add_check(actions: Any) -> None:
    parser = actions.add_parser(
        'check',
        help='report what is wrong in each file',
        formatter_class=DataSetFormatter,
        description='Reads every file of a data set completely and reports what is wrong: missing '
        'pairs, sizes that\ndiffer, truncated files, ids without a class. Counts classes, '
        'unlabelled pixels and tiny segments.\nThe exit status is 1 if there are errors.',
        epilog=f'{LAYOUTS}\n\nexamples:\n  panoptic data check my_data\n'
        f'  panoptic data check cityscapes:data/cityscapes --json check.json\n'
        f'  panoptic data check hle_mobilenetv2_own',
    )
    parser.add_argument(
        'data',
        metavar='DATA',
        help='a folder, a data set and its folder (coco:my_data), or a recipe by name or file',
    )
    parser.add_argument('--split', choices=SPLITS, help='only this split (default: all splits)')
    parser.add_argument(
        '--limit', type=whole(1), metavar='N', help='only the first N images of each split'
    )
    parser.add_argument(
        '--json', type=Path, metavar='FILE', help='also write the report to this file'
    )
    parser.set_defaults(func=run_check)


def _add_convert(actions: Any) -> None:
    parser = actions.add_parser(
        'convert',
        help="convert other labels to COCO's panoptic format",
        description="""\
Writes images and labels in COCO's panoptic format, which coco:<folder> reads, from one of
  --polygons   COCO instances JSON, as CVAT, Label Studio or Roboflow export it;
               where polygons overlap, the smaller one is on top; uncovered
               pixels are void or --background
  --semantic   PNGs of class ids, with --instance PNGs of instance numbers and
               --classes
  --data       any data set that can be trained on
The data set appears once it is complete. A source without splits is divided by file name. In
classes.yaml, `ignore: [255]` lists the ids of unlabelled pixels; 0 is one of them unless a class
has it.""",
        epilog="""\
examples:
  panoptic data convert --polygons instances.json --images photos \\
      --background background -o my_data
  panoptic data convert --semantic sem --instance ins --images photos \\
      --classes classes.yaml -o my_data
  panoptic data convert --data cityscapes:data/cityscapes -o my_data""",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument('--polygons', type=Path, metavar='FILE', help='COCO instances JSON')
    source.add_argument('--semantic', type=Path, metavar='DIR', help='PNGs of class ids')
    source.add_argument('--data', metavar='DATA', help='a data set, or its folder')
    parser.add_argument('--images', type=Path, metavar='DIR', help='folder of the images')
    parser.add_argument(
        '--background',
        metavar='NAME',
        help='with --polygons: name of a stuff class for uncovered pixels',
    )
    parser.add_argument(
        '--crowds-are-objects',
        action='store_true',
        help='with --polygons: treat annotations marked iscrowd as single objects; CVAT marks '
        'every mask so',
    )
    parser.add_argument(
        '--exif',
        choices=('refuse', 'apply', 'ignore'),
        default='refuse',
        help='handling of photos with an EXIF orientation, which viewers rotate: apply it if '
        'their labels match the rotated photo, ignore it if they match the stored '
        'pixels; the new photos have none (default: %(default)s)',
    )
    parser.add_argument('--instance', type=Path, metavar='DIR', help='PNGs of instance numbers')
    parser.add_argument(
        '--classes', type=Path, metavar='FILE', help='classes.yaml, see `panoptic data --help`'
    )
    parser.add_argument(
        '--val-share',
        type=number(least=0, most=1),
        default=0.2,
        metavar='X',
        help='share of val; 0 or 1 writes one split only (default: %(default)s)',
    )
    add_folder_output(parser, 'folder of the new data set')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace splits of an earlier conversion'
    )
    parser.set_defaults(func=run_convert)


def _add_show(actions: Any) -> None:
    parser = actions.add_parser(
        'show',
        help='write a contact sheet of labelled images',
        description='Draws labels over images that are evenly spread over the split, and writes '
        'them as one picture.\nUnlabelled pixels have no overlay.',
        epilog='example:\n  panoptic data show my_data --split val -o sheet.png',
    )
    parser.add_argument(
        'data',
        metavar='DATA',
        help='a folder, a data set and its folder, or a recipe by name or file',
    )
    parser.add_argument(
        '--split', choices=SPLITS, default='train', help='split (default: %(default)s)'
    )
    parser.add_argument(
        '--count',
        type=whole(1),
        default=12,
        metavar='N',
        help='number of images (default: %(default)s)',
    )
    parser.add_argument(
        '-o',
        '--output',
        type=Path,
        default=Path('contact_sheet.png'),
        metavar='FILE',
        help='picture to write, .png or .jpg (default: %(default)s)',
    )
    parser.add_argument('--own-colors', action='store_true', help=OWN_COLORS)
    parser.set_defaults(func=run_show)


def run_check(args: argparse.Namespace) -> int:
    """Check a data set, print the report and write the JSON file.

    Returns:
        1 if there are errors.

    Raises:
        ValueError: for an unknown data set or an invalid flag.
        OSError: for a missing recipe or folder.
    """
    check_output(args, 'json')
    from panoptic_training.data.check import check_recipe, check_split, compare_splits
    from panoptic_training.data.files import FileReader

    args.data, recipe = find_data(args.data)
    name = args.data
    check_output(args, 'json')  # again, as a recipe names a folder
    reports: dict[str, SplitReport] = {}
    errors: list[str] = []
    warnings: list[str] = []
    for split in [args.split] if args.split else SPLITS:
        try:
            reader = open_split(name, recipe, split)
        except (ValueError, OSError) as error:
            if args.split or split in NEEDED:
                errors.append(f'{split}: {" ".join(str(error).split())}')
            continue
        report, steps = check_split(reader, split, args.limit)
        for _ in with_bar(steps, report.samples, f'{split} images checked'):
            pass
        reports[split] = report
        if isinstance(reader, FileReader):
            warnings += [f'{split}: {note}' for note in reader.notes()]
        errors += [f'{split}: {error}' for error in report.errors]
    for more_errors, more_warnings in (
        compare_splits(reports),
        check_recipe(recipe, reports) if recipe else ([], []),
    ):
        errors += more_errors
        warnings += more_warnings
    _print_reports(name, reports)
    for text in [
        *(f'{report.split}: {text}' for report in reports.values() for text in report.warnings),
        *warnings,
    ]:
        print(f'warning: {text}')
    for text in errors:
        print(f'error: {text}')
    print(counted(len(errors), 'error') if errors else 'no errors')
    if args.json:
        write_json(
            {
                'data': name,
                'errors': errors,
                'warnings': warnings,
                'splits': {split: r.to_dict() for split, r in reports.items()},
            },
            args.json,
        )
    checked = sum(report.samples for report in reports.values())
    report_saved(f'{counted(checked, "image")} checked', args.json)
    return int(bool(errors))


def run_convert(args: argparse.Namespace) -> None:
    """Convert labelled images to COCO's panoptic format.

    Raises:
        ValueError: for flags that do not go together, or labels that cannot be converted.
        OSError: for a file or folder that is missing, exists already or cannot be written.
    """
    check_folder(args.output, '--output', is_folder=True)
    from panoptic_training.data.convert import (
        Part,
        check_targets,
        divide,
        names_of,
        unique_names,
        write_data,
    )

    sources = _sources(args, divide)
    parts = {
        split: Part(reader, indices)
        for reader, splits in sources
        for split, indices in splits.items()
    }
    names = tuple(name for split in parts for name in names_of(split))
    check_output(args, 'output', Results(names))
    check_targets(args.output, parts, args.overwrite)
    for reader, indices in parts.values():
        reader.exif = args.exif
        unique_names(reader, indices)
        if faults := reader.faults():
            raise ValueError(
                f'{len(faults)} of {counted(len(reader), "image")} cannot be converted, e.g. '
                f'{next(iter(faults.values()))}'
            )
    for _ in with_bar(
        write_data(parts, args.output, args.overwrite),
        sum(len(part.indices) for part in parts.values()),
        'images written',
    ):
        pass
    _keep_sources(args)
    for reader, _ in sources:
        for note in reader.notes():
            print(note)
    report_saved(
        ', '.join(
            f'{split}: {counted(len(part.indices), "image")}' for split, part in parts.items()
        ),
        args.output,
        next_command=('data', 'check', f'coco:{args.output}'),
    )


def run_show(args: argparse.Namespace) -> None:
    """Draw a contact sheet and write it.

    Raises:
        ValueError: for an unknown data set or an invalid flag.
        OSError: for a file that cannot be read or written.
    """
    if args.output.suffix.lower() not in ('.png', '.jpg', '.jpeg'):
        raise ValueError(f'--output must end in .png or .jpg, got {args.output}')
    check_output(args, 'output')
    import numpy as np
    from PIL import Image

    from panoptic_training.data.show import contact_sheet

    args.data, recipe = find_data(args.data)
    check_output(args, 'output')  # again, as a recipe names a folder
    reader = open_split(args.data, recipe, args.split)
    chosen = np.linspace(0, len(reader) - 1, min(args.count, len(reader))).round().astype(int)
    indices = list(with_bar(chosen.tolist(), len(chosen), 'images read'))
    sheet = contact_sheet(reader, indices, args.own_colors)
    with atomic_write(args.output) as temporary:
        Image.fromarray(sheet).save(temporary)
    report_saved(f'{len(chosen)} of {counted(len(reader), "image")} of {args.split}', args.output)


def find_data(text: str) -> tuple[str, dict[str, Any]]:
    """Return a data set's name, and the recipe that names it, empty if `text` names the data set.

    Raises:
        ValueError, OSError: for a text that is neither a data set nor a recipe.
    """
    from panoptic_training.data.registry import resolve_name

    recipes = recipe_files()
    if text not in recipes and Path(text).suffix not in ('.yaml', '.yml'):
        return resolve_name(text, recipes), {}
    path = find_recipe(text)
    recipe = read_recipe(path)
    try:
        return str(recipe['data']['dataset']), recipe
    except (KeyError, TypeError):
        raise ValueError(f'{path} has no data.dataset, expected a complete recipe') from None


def open_split(name: str, recipe: dict[str, Any], split: str) -> Reader:
    """Return the reader of a split with the recipe's options, whose files are not checked yet."""
    from panoptic_training.data.registry import make_reader

    options = recipe.get('data', {}).get(split) or {}
    if not isinstance(options, dict):
        raise ValueError(f'data.{split} of the recipe must be options by name, got {options!r}')
    return make_reader(name, split, **options)


def _sources(args: argparse.Namespace, divide: Any) -> list[tuple[FileReader, Any]]:
    """Return the readers, and the indices of their images by split."""
    source = next(name for name in SOURCES if getattr(args, name) is not None)
    for flag, sources in FLAGS.items():
        if getattr(args, flag) and source not in sources:
            raise ValueError(
                f'--{flag.replace("_", "-")} does not go with --{source}; it belongs '
                f'to --{" or --".join(sources)}'
            )
    from panoptic_training.data.files import FileReader
    from panoptic_training.data.folder import SemanticAndInstance
    from panoptic_training.data.polygons import Polygons

    if source == 'data':
        found: list[tuple[FileReader, Any]] = []
        for split in NEEDED:
            one = open_split(*find_data(args.data), split)
            if not isinstance(one, FileReader):
                raise ValueError(f'--data {args.data} does not consist of files')
            found.append((one, {split: range(len(one))}))
        return found
    needed = ['images'] if args.polygons else ['images', 'instance', 'classes', 'semantic']
    for flag in needed:
        path = getattr(args, flag)
        if path is None:
            raise ValueError(f'--{source} needs --{flag}')
        if flag != 'classes':
            require_folder(path, f'folder for --{flag}')
    reader: FileReader = (
        Polygons(args.polygons, args.images, args.background, args.crowds_are_objects)
        if args.polygons
        else SemanticAndInstance(args.classes, args.images, args.semantic, args.instance)
    )
    return [(reader, divide([pair.image.name for pair in reader.pairs], args.val_share))]


def _keep_sources(args: argparse.Namespace) -> None:
    """Copy the list of the images' recordings, if there is one, beside the converted data."""
    from panoptic_ros.mining.sources import NAME

    given = args.images or Path(args.data.rpartition(':')[2])
    for folder in (given, given.parent):
        if (folder / NAME).is_file():
            write_bytes((folder / NAME).read_bytes(), args.output / NAME)
            return


def _print_reports(name: str, reports: dict[str, SplitReport]) -> None:
    from rich import box
    from rich.table import Column, Table

    console = table_console()
    table = Table(
        Column('class', no_wrap=True),
        'kind',
        title=name,
        title_justify='left',
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for split in reports:
        for column in ('segments', 'px %'):
            table.add_column(f'{split}\n{column}', justify='right')
    known = next(iter(reports.values())).labels.labels if reports else ()
    for i, label in enumerate(known):
        cells = [
            cell
            for report in reports.values()
            for cell in (
                str(report.segments[i]),
                f'{100 * report.pixels[i] / max(report.pixels.sum(), 1):.2f}',
            )
        ]
        table.add_row(label.name, 'thing' if label.is_thing else 'stuff', *cells)
    if reports:
        table.add_row(
            'no label',
            '',
            *(
                cell
                for report in reports.values()
                for cell in ('', f'{100 * report.unlabelled_share:.2f}')
            ),
        )
        console.print(table)
    for split, report in reports.items():
        sizes = ', '.join(f'{h}x{w} ({n})' for (h, w), n in report.sizes.most_common(3))
        more = f' and {len(report.sizes) - 3} more' if len(report.sizes) > 3 else ''
        print(f'{split}: {counted(report.samples, "image")}, {sizes}{more}')
