# SPDX-License-Identifier: Apache-2.0
"""Files of an evaluation's folder, except the predictions."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from panoptic_ros.core.files import write_bytes, write_json
from panoptic_ros.metrics.base import none_for_nan

from .browse import write_browse
from .run import Evaluation
from .submission import write_submission
from .worst import write_worst


def write_report(
    evaluation: Evaluation,
    scores: dict[str, Any],
    worst: int,
    folder: Path,
    own_colors: bool = False,
) -> None:
    """Write `scores.json`, `per_class.csv`, `images.csv`, `worst/`, `browse/` and `submission/`.

    Args:
        evaluation: the finished evaluation.
        scores: content of the JSON file, with `split` and, if a model was run, `model`.
        worst: number of pictures.
        folder: existing folder.
        own_colors: see `LabelSet.own_colors`.
    """
    write_json(scores, folder / 'scores.json')
    write_csv(evaluation.scores.per_class_rows(), folder / 'per_class.csv')
    names = evaluation.reader.image_names
    write_csv(
        [
            {
                'image': names[image.index],
                **{
                    name: none_for_nan(getattr(image.result.all, name))
                    for name in ('pq', 'sq', 'rq')
                },
                **{name: int(getattr(image.result, name).sum()) for name in ('tp', 'fp', 'fn')},
            }
            for image in evaluation.images
        ],
        folder / 'images.csv',
    )
    write_worst(evaluation, worst, folder / 'worst', own_colors)
    source = scores.get('model') or scores['predictions']
    write_browse(
        evaluation,
        f'{source} on {scores["data"]}, {scores["split"]}',
        folder / 'browse',
        own_colors,
    )
    if evaluation.store is not None:
        write_submission(
            evaluation.store,
            evaluation.reader.submission,
            scores['split'],
            scores['model'],
            folder / 'submission',
        )


def write_csv(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write a table whose header is the keys of its first row; None is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(text.getvalue().encode(), path)
