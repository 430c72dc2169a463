# SPDX-License-Identifier: Apache-2.0
"""`panoptic ablate`: a paper's ablation table, repeated on a small budget."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panoptic_ros.cli.output import check_output, report_saved
from panoptic_ros.cli.recipes import find_recipe, find_study
from panoptic_ros.core.files import lock_folder, write_bytes, write_json
from panoptic_ros.core.outputs import Results
from panoptic_ros.core.progress import working
from panoptic_ros.core.text import counted

if TYPE_CHECKING:
    from panoptic_training.ablation import Study, Variant


RESULTS = Results(('table.md', 'results.json'), 'results.json', 'kendall_tau')
"""Files in the folder of a study, beside the runs."""


def add_parser(subparsers: Any) -> None:
    """Add the command to `panoptic`."""
    parser = subparsers.add_parser(
        'ablate',
        help="train the variants of a paper's table and compare the ranks",
        description="Trains each variant of a study with each seed on the study's budget, tunes "
        'its decoder on one half of the validation images, scores it on the other, and prints the '
        "paper's column beside ours, the mean over the seeds with its 95 % interval, and the rank "
        "agreement (Kendall's tau: 1 where both order all rows alike). It starts with an estimate "
        'of the hours, from a short training. A study that was interrupted resumes; finished runs '
        'are kept.',
        epilog='examples:\n'
        '  panoptic ablate hle_table6\n'
        '  panoptic ablate hle_table6 --table-only\n'
        '  panoptic ablate hle_table6 --only full --only associative\n'
        '  panoptic ablate my_study.yaml -o runs/my_study',
    )
    parser.add_argument(
        'study', metavar='STUDY', help='a name of `panoptic list studies`, or a YAML file'
    )
    parser.add_argument(
        '-o',
        '--output',
        type=Path,
        metavar='DIR',
        help='folder of the runs and of table.md and results.json '
        '(default: runs/ablation/<study>)',
    )
    parser.add_argument(
        '--only',
        action='append',
        metavar='ROW',
        help='train only this variant, by its name or the start of it; may be repeated (default: '
        'all). The table shows all finished runs',
    )
    parser.add_argument(
        '--table-only', action='store_true', help='train nothing; show the finished runs'
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Train the runs that are missing, print the table and write the files.

    Raises:
        ValueError: if the study is invalid, --only names no variant of it, the folder holds runs
            with other settings, or --table-only is given and no run is finished.
        OSError: if a file cannot be read or written, or a run fails.
    """
    from panoptic_training.ablation import load_study, runs_of

    path = find_study(args.study)
    args.output = folder = args.output or Path('runs/ablation') / path.stem
    check_output(args, 'output', RESULTS)
    study = load_study(path)
    wanted = choose_variants(study, args.only)
    if args.table_only and not any(one.scores_file.is_file() for one in runs_of(study, folder)):
        raise ValueError(f'no finished run in {folder}; run without --table-only to train')
    folder.mkdir(parents=True, exist_ok=True)
    # The table can be made while another process trains.
    with nullcontext() if args.table_only else lock_folder(folder, 'ablation'):
        _run_study(study, path.stem, folder, () if args.table_only else wanted)


def choose_variants(study: Study, names: Sequence[str] | None) -> Sequence[Variant]:
    """Return the variants with these names or beginnings of names; all without names.

    Raises:
        ValueError: if a name fits no variant or several.
    """
    if not names:
        return study.variants
    chosen = []
    for name in names:
        found = [v for v in study.variants if v.name == name] or [
            v for v in study.variants if v.name.lower().startswith(name.lower())
        ]
        if len(found) != 1:
            raise ValueError(
                f'--only {name!r} fits {counted(len(found), "variant")}, expected the start of '
                f'one of: {"; ".join(v.name for v in study.variants)}'
            )
        chosen += found
    return chosen


def _run_study(study: Study, name: str, folder: Path, wanted: Sequence[Variant]) -> None:
    """Train the missing runs of variants, in a folder that no other process trains in."""
    from rich.console import Console

    from panoptic_ros.cli.main import main
    from panoptic_training.ablation import execute, read_hours, require_same_settings, runs_of
    from panoptic_training.ablation_hours import hours_of_run
    from panoptic_training.ablation_scores import agreements, collect, half_interval

    recipe = find_recipe(study.recipe)
    console = Console()
    runs = list(runs_of(study, folder))
    for one in runs:
        require_same_settings(study, one, recipe)
    missing = [r for r in runs if r.variant in wanted and not r.scores_file.is_file()]
    if missing:
        with working('estimating the hours'):
            hours = hours_of_run(study, runs, folder, recipe, main)
        console.print(estimate(len(missing), len(runs), hours), highlight=False, soft_wrap=True)
    for number, one in enumerate(missing, 1):
        with working(
            f'run {number} of {len(missing)}: {one.variant.name}, seed {one.seed}; log '
            f'in {one.folder / "train.log"}'
        ):
            execute(study, one, recipe, main)
    scores = collect(study, folder)
    taus = agreements(study, scores)
    core_hours = sum(read_hours(one).core for one in runs)
    lines = markdown(study, scores, taus, core_hours)
    write_bytes(('\n'.join(lines) + '\n').encode(), folder / 'table.md')
    write_json(
        {
            'study': name,
            'source': study.source,
            'recipe': study.recipe,
            'budget': dict(study.budget),
            'seeds': list(study.seeds),
            'variants': [
                {
                    'name': v.name,
                    'set': dict(v.set),
                    'paper': dict(v.paper),
                    'ours': scores[v.name],
                    'half_interval': {
                        name: None if (half := half_interval(values)) != half else half
                        for name, values in scores[v.name].items()
                    },
                }
                for v in study.variants
            ],
            'kendall_tau': {k: None if t != t else t for k, t in taus.items()},
            'core_hours': core_hours,
        },
        folder / 'results.json',
    )
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    finished = sum(one.scores_file.is_file() for one in runs)
    report_saved(f'{finished} of {len(runs)} runs finished', folder, names=RESULTS.names)


def estimate(missing: int, runs: int, hours: float | None) -> str:
    """Return the line that says how long the missing runs will take.

    Args:
        missing: number of runs that are not finished.
        runs: number of all.
        hours: of one run; None if it cannot be known.
    """
    if hours is None:
        return f'{missing} of {runs} runs to do; their trainings end by neither steps nor time'
    return (
        f'{missing} of {runs} runs to do, about {missing * hours:.1f} hours on this machine '
        f'({60 * hours:.0f} minutes each)'
    )


def markdown(
    study: Study,
    scores: Mapping[str, Mapping[str, Sequence[float]]],
    taus: Mapping[str, float],
    core_hours: float,
) -> list[str]:
    """Return the lines of the table: paper, and ours as mean ± half the 95 % interval."""
    from panoptic_training.ablation_scores import half_interval

    names = study.metrics
    rows = [['variant', *(f'{name} {who}' for name in names for who in ('paper', 'ours'))]]
    rows.append(['---'] * len(rows[0]))
    for variant in study.variants:
        cells = [variant.name]
        for name in names:
            ours = scores[variant.name][name]
            spread = f' ± {half_interval(ours):.1f}' if len(ours) > 1 else ''
            cells += [
                f'{variant.paper[name]:.1f}' if name in variant.paper else '',
                f'{sum(ours) / len(ours):.1f}{spread}' if ours else '',
            ]
        rows.append(cells)
    # Scores of an earlier version may lack a metric, whose column then is empty.
    done = min(max(map(len, by_metric.values())) for by_metric in scores.values())
    return [
        f'{study.title} ({study.source})',
        '',
        *('| ' + ' | '.join(row) + ' |' for row in rows),
        '',
        f'{done} of {len(study.seeds)} seeds finished for each variant, {core_hours:.1f} '
        'core-hours. ±: half the 95 % interval of the mean over the seeds. Rank agreement '
        "(Kendall's tau): "
        + ', '.join(f'{k} {"n/a" if t != t else f"{t:.2f}"}' for k, t in taus.items()),
    ]
