# SPDX-License-Identifier: Apache-2.0
"""`panoptic evaluate-tracking`: comparison of trackers on video of the synthetic city."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panoptic_ros.cli.arguments import add_backend, whole
from panoptic_ros.cli.model_source import MODEL_HELP, model_argument, model_path
from panoptic_ros.cli.output import check_output, report_saved
from panoptic_ros.core.files import write_json
from panoptic_ros.core.inputs import require_file
from panoptic_ros.core.outputs import Results
from panoptic_ros.core.progress import with_bar
from panoptic_ros.core.text import counted

if TYPE_CHECKING:
    from panoptic_training.tracking.retrieval import EmbeddingRetrieval
    from panoptic_training.tracking.study import Clip

ODOMETRY = 'with depth and odometry'

COLUMNS = {
    'STQ': 'stq',
    'VPQ': 'vpq',
    'IDF1': 'idf1',
    'HOTA': 'hota',
    'AssA': 'assa',
    'IDSW': 'id_switches',
}


def add_parser(subparsers: Any) -> None:
    """Add the command to `panoptic`."""
    parser = subparsers.add_parser(
        'evaluate-tracking',
        help='compare trackers on synthetic video',
        description='Runs a model on clips of the synthetic city and compares trackers on its '
        'segments: the default, the default\nwith camera motion, with exact depth and odometry '
        'and without embeddings, and one by overlap\nonly; on all frames and on every 2nd and '
        '5th. Also scores the vote for stuff, apart for standing\nand driving cameras, and '
        'measures embedding retrieval: how often the most similar embedding some\nframes later '
        "belongs to the same thing. The model's output is kept, so that the next call takes\n"
        'seconds; an interrupted call resumes.',
        epilog='examples:\n'
        '  panoptic evaluate-tracking\n'
        '  panoptic evaluate-tracking --model city.onnx --clips 4 --json tracking.json',
    )
    add_clip_arguments(parser, split='test', clips=20, frames=100)
    parser.add_argument(
        '--steps',
        type=whole(1),
        nargs='+',
        default=[1, 2, 5],
        metavar='N',
        help='let trackers see every N-th frame (default: 1 2 5)',
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='write all scores to a file')
    parser.set_defaults(func=run)


def add_clip_arguments(
    parser: argparse.ArgumentParser, split: str, clips: int, frames: int
) -> None:
    """Add the arguments that choose the clips and the model."""
    parser.add_argument(
        '--model',
        type=model_argument,
        metavar='MODEL',
        help=f'{MODEL_HELP}, or a checkpoint of `panoptic train` (.ckpt) '
        "(default: the package's own)",
    )
    add_backend(parser)
    parser.add_argument(
        '--split',
        default=split,
        choices=('val', 'test'),
        help='split of the streets (default: %(default)s)',
    )
    parser.add_argument(
        '--clips',
        type=whole(1),
        default=clips,
        metavar='N',
        help='number of streets (default: %(default)s)',
    )
    parser.add_argument(
        '--frames',
        type=whole(1),
        default=frames,
        metavar='N',
        help='frames per street, at 20 per second (default: %(default)s)',
    )
    parser.add_argument(
        '--cache',
        type=Path,
        default=Path('runs/tracking'),
        metavar='DIR',
        help="folder that keeps the model's output (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> None:
    """Score all trackers, print the tables and write the JSON file.

    Raises:
        ValueError: if an argument is out of range or does not fit the model.
        OSError: if a file cannot be read or written.
        BackendError: if the model cannot be run.
    """
    check_output(args, 'json')
    check_output(args, 'cache', Results())
    from rich.console import Console

    from panoptic_training.data.synthetic import LABELS
    from panoptic_training.tracking.retrieval import GAPS, embedding_retrieval
    from panoptic_training.tracking.study import TRACKERS, score, summary, things_per_frame

    clips = load_clips(args)
    cameras = [camera_of(seed) for seed in clip_files(args)]
    stuff = score_stuff_votes(args)
    things = [things_per_frame(clip) for clip in clips]
    middle = sorted(things)[len(things) // 2]
    rows = []
    trackers = {**TRACKERS, ODOMETRY: TRACKERS['default'], 'ground truth ids': None}
    runs = [(name, step) for step in args.steps for name in trackers]
    for name, step in with_bar(runs, len(runs), 'trackers scored'):
        config, odometry = trackers[name], name == ODOMETRY
        parts = [score(clip, LABELS, config, step, odometry) for clip in clips]
        groups = {
            'all': parts,
            'crowded': [p for p, n in zip(parts, things, strict=True) if n >= middle],
            'sparse': [p for p, n in zip(parts, things, strict=True) if n < middle],
            **{
                kind: [p for p, camera in zip(parts, cameras, strict=True) if camera == kind]
                for kind in ('standing', 'driving')
            },
        }
        rows += [
            {'tracker': name, 'step': step, 'clips': group, **summary(chosen, LABELS)}
            for group, chosen in groups.items()
            if chosen
        ]
    retrieval = [embedding_retrieval(clips, gap) for gap in GAPS]
    console = Console()
    for line in (*tables(rows), '', *stuff_table(stuff), '', *retrieval_table(retrieval)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if args.json:
        write_json(
            {
                'model': str(args.model or "the package's own"),
                'split': args.split,
                'clips': len(clips),
                'frames': args.frames,
                'things_per_frame': sum(things) / len(things),
                'scores': rows,
                'stuff_votes': stuff,
                'embedding_retrieval': [vars(result) for result in retrieval],
            },
            args.json,
        )
    report_saved(
        f'{counted(len(trackers), "tracker")} scored on {counted(len(clips), "clip")}',
        args.json,
        args.cache,
    )


def camera_of(seed: int) -> str:
    """Return whether the camera of a street is `driving` or `standing`."""
    from panoptic_training.data.synthetic import SyntheticClip

    return 'driving' if SyntheticClip(seed).is_driving else 'standing'


def clip_files(args: argparse.Namespace) -> dict[int, Path]:
    """Return the files of the chosen clips by seed; those that are missing are made first.

    Raises:
        ValueError: if an argument is out of range or the model has other classes.
        OSError: if a file cannot be read or written.
        BackendError: if the model cannot be run.
    """
    from panoptic_ros.runtime.predictor import Predictor
    from panoptic_training.data.synthetic import LABELS
    from panoptic_training.evaluation.predictor import open_predictor
    from panoptic_training.tracking.recorded import clip_file, record, seeds_of

    model = model_path(args.model)
    require_file(model, 'a model file')
    files = {
        seed: clip_file(args.cache, model, seed, args.frames)
        for seed in seeds_of(args.split, args.clips)
    }
    missing = {seed: path for seed, path in files.items() if not path.is_file()}
    if missing:
        predictor = open_predictor(model, args.backend, args.device)
        predictor = Predictor(predictor.backend, predictor.info.with_unknown({}))
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
    return files


def load_clips(args: argparse.Namespace) -> list[Clip]:
    """Return the chosen clips, see `clip_files`."""
    from panoptic_training.data.synthetic import LABELS
    from panoptic_training.tracking.recorded import load_clip
    from panoptic_training.tracking.study import count

    files = clip_files(args)
    return [
        count(load_clip(path), LABELS)
        for path in with_bar(files.values(), len(files), 'clips read')
    ]


def score_stuff_votes(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the scores with and without the vote for stuff, one row for each table row."""
    from panoptic_training.data.synthetic import LABELS
    from panoptic_training.tracking.recorded import load_clip
    from panoptic_training.tracking.stuff_study import VOTES, score_stuff, stuff_summary

    files = clip_files(args)
    parts: dict[tuple[str, int, str], list[Any]] = {}
    for seed, path in with_bar(files.items(), len(files), 'clips scored for stuff'):
        clip = load_clip(path)
        kind = camera_of(seed)
        for step in args.steps:
            for name, (vote, camera_motion) in VOTES.items():
                scores = score_stuff(clip, LABELS, vote, camera_motion, step)
                parts.setdefault((kind, step, name), []).append(scores)
    return [
        {
            'camera': kind,
            'clips': len(some),
            'step': step,
            'vote': name,
            **stuff_summary(some, LABELS),
        }
        for (kind, step, name), some in sorted(
            parts.items(), key=lambda item: item[0][0], reverse=True
        )
    ]


def tables(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return tables in Markdown by group of clips: scores in percent and number of id switches."""
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


def stuff_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return a table in Markdown: scores with and without the vote for stuff."""
    return [
        '| camera | clips | every | vote for stuff | STQ | SQ | flicker |',
        '|---' * 7 + '|',
        *(
            f'| {row["camera"]} | {row["clips"]} | {row["step"]} | {row["vote"]} | '
            f'{row["stq"]:.2f} | {row["sq"]:.2f} | {row["flicker"]:.2f} |'
            for row in rows
        ),
    ]


def retrieval_table(results: Sequence[EmbeddingRetrieval]) -> list[str]:
    """Return a table in Markdown: recall@1 of embeddings by gap."""
    return [
        '| frames later | recall@1 | by chance | queries |',
        '|---' * 4 + '|',
        *(
            f'| {r.gap} | {_cell(r.recall_at_1)} | {_cell(r.chance)} | {r.queries} |'
            for r in results
        ),
    ]


def _cell(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return '-' if math.isnan(value) else f'{value:.1f}'
