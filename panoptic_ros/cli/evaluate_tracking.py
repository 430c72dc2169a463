# SPDX-License-Identifier: Apache-2.0
"""`panoptic evaluate-tracking`: trackers compared on video of the synthetic city."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panoptic_ros.cli.output import check_folder, with_bar
from panoptic_ros.core.files import write_json

if TYPE_CHECKING:
    from panoptic_training.tracking.retrieval import Stability
    from panoptic_training.tracking.study import Clip

COLUMNS = {
    'STQ': 'stq',
    'VPQ': 'vpq',
    'IDF1': 'idf1',
    'HOTA': 'hota',
    'AssA': 'assa',
    'IDSW': 'id_switches',
}


def add_parser(subparsers: Any) -> None:
    """Adds the command to `panoptic`."""
    parser = subparsers.add_parser(
        'evaluate-tracking',
        help='compare trackers on synthetic video',
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description='Runs a model on clips of the synthetic city and compares trackers on its '
        'segments: ours, ours\nwithout embeddings, and one by overlap alone; on all '
        'frames and on every 2nd and 5th. Says too how\noften the nearest embedding '
        "some frames later is the same thing's. The model's output is kept, so\n"
        'that the next call takes seconds; a call that was stopped resumes.',
        epilog='examples:\n'
        '  panoptic evaluate-tracking\n'
        '  panoptic evaluate-tracking --model city.onnx --clips 4 --json tracking.json',
    )
    add_clip_arguments(parser, split='test', clips=20, frames=100)
    parser.add_argument(
        '--steps',
        type=int,
        nargs='+',
        default=[1, 2, 5],
        metavar='N',
        help='let trackers see every N-th frame (default: 1 2 5)',
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='write all scores here too')
    parser.set_defaults(func=run)


def add_clip_arguments(
    parser: argparse.ArgumentParser, split: str, clips: int, frames: int
) -> None:
    """Flags that say which clips, by which model."""
    parser.add_argument(
        '--model',
        type=Path,
        metavar='FILE',
        help='a model file (.onnx), or a checkpoint of `panoptic train` (.ckpt) '
        "(default: the package's own)",
    )
    parser.add_argument(
        '--backend', default='auto', help='what runs a model file (default: %(default)s)'
    )
    parser.add_argument(
        '--device', default='auto', help='auto, cpu, cuda or cuda:N (default: %(default)s)'
    )
    parser.add_argument(
        '--split',
        default=split,
        choices=('val', 'test'),
        help='which streets (default: %(default)s)',
    )
    parser.add_argument(
        '--clips',
        type=int,
        default=clips,
        metavar='N',
        help='number of streets (default: %(default)s)',
    )
    parser.add_argument(
        '--frames',
        type=int,
        default=frames,
        metavar='N',
        help='of each, at 20 a second (default: %(default)s)',
    )
    parser.add_argument(
        '--cache',
        type=Path,
        default=Path('runs/tracking'),
        metavar='DIR',
        help="where the model's output is kept (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> None:
    """Scores, prints the tables and writes the JSON file.

    Raises:
        ValueError, OSError, BackendError: in one line.
    """
    if min(args.steps) < 1:
        raise ValueError(f'--steps must be at least 1, got {min(args.steps)}')
    check_folder(args.json, '--json')
    check_folder(args.cache, '--cache', is_folder=True)
    from rich.console import Console

    from panoptic_training.data.synthetic import LABELS
    from panoptic_training.tracking.retrieval import GAPS, stability
    from panoptic_training.tracking.study import TRACKERS, score, summary, things_per_frame

    clips = load_clips(args)
    things = [things_per_frame(clip) for clip in clips]
    middle = sorted(things)[len(things) // 2]
    rows = []
    trackers = {**TRACKERS, 'ids from the truth': None}
    runs = [(name, step) for step in args.steps for name in trackers]
    for name, step in with_bar(runs, len(runs), 'trackers scored'):
        parts = [score(clip, LABELS, trackers[name], step) for clip in clips]
        groups = {
            'all': parts,
            'crowded': [p for p, n in zip(parts, things, strict=True) if n >= middle],
            'sparse': [p for p, n in zip(parts, things, strict=True) if n < middle],
        }
        rows += [
            {'tracker': name, 'step': step, 'clips': group, **summary(chosen, LABELS)}
            for group, chosen in groups.items()
            if chosen
        ]
    stabilities = [stability(clips, gap) for gap in GAPS]
    console = Console()
    for line in (*tables(rows), '', *stability_table(stabilities)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if args.json:
        write_json(
            {
                'model': str(args.model or "the package's own"),
                'split': args.split,
                'clips': len(clips),
                'frames': args.frames,
                'things_per_frame': sum(things) / len(things),
                'scores': [{k: None if v != v else v for k, v in row.items()} for row in rows],
                'stability': [vars(s) for s in stabilities],
            },
            args.json,
        )


def load_clips(args: argparse.Namespace) -> list[Clip]:
    """The clips asked for, counted; those that are not kept yet are drawn and run first.

    Raises:
        ValueError, OSError, BackendError: in one line.
    """
    from panoptic_ros.core.resources import default_model
    from panoptic_training.data.synthetic import LABELS
    from panoptic_training.evaluation.predictor import open_predictor
    from panoptic_training.tracking.recorded import clip_file, load_clip, record, seeds_of
    from panoptic_training.tracking.study import count

    if args.frames < 1:
        raise ValueError(f'--frames must be at least 1, got {args.frames}')
    model = args.model or default_model()
    if not model.is_file():
        raise FileNotFoundError(f'no model file at {model}')
    files = {
        seed: clip_file(args.cache, model, seed, args.frames)
        for seed in seeds_of(args.split, args.clips)
    }
    missing = {seed: path for seed, path in files.items() if not path.is_file()}
    if missing:
        predictor = open_predictor(model, args.backend, args.device)
        if predictor.info.labels.names != LABELS.names:
            raise ValueError(
                f'{model} has the classes {", ".join(predictor.info.labels.names)}; '
                f'the city has {", ".join(LABELS.names)}'
            )
        steps = (
            done
            for seed, path in missing.items()
            for done in record(predictor, seed, args.frames, path)
        )
        for _ in with_bar(steps, len(missing) * args.frames, 'frames predicted'):
            pass
    return [
        count(load_clip(path), LABELS)
        for path in with_bar(files.values(), len(files), 'clips read')
    ]


def tables(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Scores by group of clips, step and tracker, in percent; id switches are a number."""
    lines = []
    for group in dict.fromkeys(row['clips'] for row in rows):
        lines += [
            '',
            f'| {group} clips | every |' + ''.join(f' {name} |' for name in COLUMNS),
            '|---' * (2 + len(COLUMNS)) + '|',
        ]
        lines += [
            f'| {row["tracker"]} | {row["step"]} |'
            + ''.join(f' {_cell(row[key])} |' for key in COLUMNS.values())
            for row in rows
            if row['clips'] == group
        ]
    return lines[1:]


def stability_table(stabilities: Sequence[Stability]) -> list[str]:
    """How often the nearest embedding is the same thing's, by gap."""
    return [
        '| frames later | nearest is the same thing | by chance | looks |',
        '|---' * 4 + '|',
        *(
            f'| {s.gap} | {_cell(s.nearest)} | {_cell(s.chance)} | {s.pairs} |'
            for s in stabilities
        ),
    ]


def _cell(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return '-' if math.isnan(value) else f'{value:.1f}'
