# SPDX-License-Identifier: Apache-2.0
"""The page of an evaluation's errors, `browse/index.html`, and its pictures."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from panoptic_ros.core.files import write_bytes
from panoptic_ros.core.image import encode_jpeg
from panoptic_ros.core.text import counted
from panoptic_ros.metrics.base import none_for_nan
from panoptic_ros.pages.gallery import Gallery, Item
from panoptic_ros.pages.page import css_colors, number, render

from .panels import draw_panels
from .run import Evaluation, ImageScore
from .segment_errors import ErrorKind, SegmentError, confusion_matrix
from .size_quality import SIZES

TEMPLATES = Path(__file__).parent / 'templates'

MAX_PICTURES = 1000
"""Most pictures, about 100 kB each; images with a higher PQ have none."""

PANEL_WIDTH = 480
"""Width of image, ground truth and prediction in a picture, px."""

JPEG_QUALITY = 80

NOTHING = '(nothing)'
"""Name of the last row and column of the matrix."""

KINDS = [kind.value for kind in ErrorKind]


def write_browse(
    evaluation: Evaluation, subtitle: str, folder: Path, own_colors: bool = False
) -> None:
    """Write the page and its pictures; earlier ones are replaced.

    Args:
        evaluation: the finished evaluation.
        subtitle: what was evaluated.
        folder: is created if it does not exist.
        own_colors: see `LabelSet.own_colors`.
    """
    labels = replace(evaluation.reader.labels, own_colors=own_colors)
    pictures = folder / 'images'
    shutil.rmtree(pictures, ignore_errors=True)
    pictures.mkdir(parents=True)
    pictured = evaluation.worst(MAX_PICTURES)
    for image in pictured:
        sample, frame = evaluation.read_again(image.index)
        picture = draw_panels(sample, frame, labels, PANEL_WIDTH)
        write_bytes(encode_jpeg(picture, JPEG_QUALITY), folder / _picture(image))
    names, shown = evaluation.reader.image_names, {image.index for image in pictured}
    result = evaluation.scores.panoptic.compute()
    errors = [error for image in evaluation.images for error in image.errors]
    kinds = Counter(error.kind.value for error in errors)
    gallery = Gallery(
        'images',
        [
            _item(image, names[image.index], image.index in shown, labels.names)
            for image in evaluation.images
        ],
        {
            'pq': ('PQ', False),
            **{kind: (f'number: {kind}', True) for kind in KINDS},
            'errors': ('number of errors', True),
            'index': ('order of the data', False),
        },
        {'error': KINDS, 'class': labels.names, 'predicted as': [*labels.names, NOTHING]},
    )
    page = render(
        TEMPLATES,
        'browse.html.j2',
        title=subtitle,
        subtitle=f'{counted(evaluation.count, "image")}; {counted(len(errors), "error")}',
        cards=[
            (number(none_for_nan(result.all.pq)), 'PQ', f'SQ {result.all.sq:.1f}'),
            *((str(kinds[kind]), kind, '') for kind in KINDS),
        ],
        sizes=_size_rows(evaluation),
        columns=[*labels.names, NOTHING],
        matrix=_matrix_rows(
            confusion_matrix(result, errors).tolist(), labels.names, css_colors(labels)
        ),
        gallery=gallery.to_dict(),
        without_picture=len(evaluation.images) - len(shown),
    )
    write_bytes(page, folder / 'index.html')


def _picture(image: ImageScore) -> str:
    return f'images/{image.index:06d}.jpg'


def _item(image: ImageScore, name: str, has_picture: bool, names: tuple[str, ...]) -> Item:
    """Return the gallery's entry of an image."""
    kinds = Counter(error.kind.value for error in image.errors)
    return Item(
        name,
        _picture(image) if has_picture else '',
        [f'PQ {number(none_for_nan(image.pq))}', *_in_words(image.errors, names)],
        {
            'pq': image.pq,
            'index': image.index,
            'errors': len(image.errors),
            **{kind: kinds[kind] for kind in KINDS},
        },
        [_mark(error, names) for error in image.errors],
    )


def _mark(error: SegmentError, names: tuple[str, ...]) -> tuple[str, str, str]:
    """Return kind, class and predicted class of an error, as the filters name them."""
    predicted = NOTHING if error.predicted_id is None else names[error.predicted_id]
    if error.kind is ErrorKind.EXTRA:
        predicted = ''
    return error.kind.value, names[error.class_id], predicted


def _in_words(errors: Any, names: tuple[str, ...]) -> list[str]:
    """Return a line for each kind of error."""
    counts = Counter(_mark(error, names) for error in errors)
    return [
        f'{kind}: '
        + ', '.join(
            f'{n} {name}{f" as {predicted}" if kind == ErrorKind.WRONG_CLASS.value else ""}'
            for (one, name, predicted), n in counts.most_common()
            if one == kind
        )
        for kind in KINDS
        if any(one == kind for one, _, _ in counts)
    ]


def _size_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return the table of sizes."""
    rows = []
    for (size, result), least, end in zip(
        evaluation.sizes.compute().items(),
        SIZES.values(),
        [*SIZES.values(), None][1:],
        strict=True,
    ):
        span = f'from {least} px' if end is None else f'{least} to {end - 1} px'
        rows.append(
            {
                'name': f'{size}, {span}',
                **{name: none_for_nan(getattr(result.all, name)) for name in ('pq', 'sq', 'rq')},
                'things': none_for_nan(result.things.pq),
                'stuff': none_for_nan(result.stuff.pq),
                **{name: int(getattr(result, name).sum()) for name in ('tp', 'fp', 'fn')},
            }
        )
    return rows


def _matrix_rows(
    matrix: list[list[int]], names: tuple[str, ...], colors: list[str]
) -> list[dict[str, Any]]:
    """Return the rows of the confusion matrix; counts of errors link to their images."""
    count, rows = len(names), []
    for r, line in enumerate(matrix):
        cells = []
        for c, n in enumerate(line):
            share = n / max(sum(line), 1)
            rgb = '46,125,50' if r == c else '198,40,40'
            link = '' if not n or r == c else f'#filter={_filter(r, c, count)}&sort=pq'
            cells.append({'count': n, 'color': f'rgba({rgb},{share:.2f})', 'link': link})
        name, color = (names[r], colors[r]) if r < count else (NOTHING, 'transparent')
        rows.append({'name': name, 'color': color, 'cells': cells})
    return rows


def _filter(row: int, column: int, count: int) -> str:
    """Return the gallery's filters, by index, for a cell off the diagonal."""
    if row == count:
        return f'{KINDS.index(ErrorKind.EXTRA.value)},{column},-1'
    if column == count:
        return f'-1,{row},{column}'
    return f'{KINDS.index(ErrorKind.WRONG_CLASS.value)},{row},{column}'
