# SPDX-License-Identifier: Apache-2.0
"""`panoptic score-video` on small folders of PNGs."""

import json

import cv2
import numpy as np
import pytest
import yaml
from video_clips import LABELS, random_clip, score

from panoptic_ros.cli import score_video
from panoptic_ros.cli.arguments import Parser
from panoptic_ros.core.labels import VOID_ID
from panoptic_ros.metrics.video import VideoScores

DIVISOR = 256


def run(*arguments):
    parser = Parser()
    score_video.add_parser(parser.add_subparsers())
    args = parser.parse_args(['score-video', *map(str, arguments)])
    args.func(args)


def write_png(path, ids):
    """Write an 8-bit RGB PNG with id = R + 256 G + 65536 B."""
    ids = np.asarray(ids, np.uint32)
    bgr = np.stack([ids >> 16, ids >> 8 & 255, ids & 255], axis=-1).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), bgr)


def write_clip(folder, clip, name, white=False):
    """Write ground truth and prediction; void is class 255, or white."""
    for i, maps in enumerate(clip):
        for side, class_map, track_map in (('gt', *maps[:2]), ('pred', *maps[2:])):
            ids = class_map.astype(np.int64) * DIVISOR + track_map.astype(np.int64)
            if white:
                ids[class_map == VOID_ID] = 0xFFFFFF
            write_png(folder / side / name / f'{i:03d}.png', ids)


@pytest.fixture
def files(tmp_path):
    """Write a clip of three frames to gt and pred, and classes.yaml."""
    write_clip(tmp_path, random_clip(1, frames=3), '.')
    (tmp_path / 'classes.yaml').write_text(
        yaml.safe_dump({'label_divisor': DIVISOR, 'labels': LABELS.to_dicts()})
    )
    return tmp_path


def score_files(files, *more):
    run(files / 'gt', files / 'pred', '--labels', files / 'classes.yaml', *more)


def expected(*clips):
    return score(VideoScores(LABELS), *clips).compute()


def test_a_folder_is_a_clip(files, capsys):
    score_files(files, '--json', files / 'scores.json')
    result = expected(random_clip(1, frames=3))
    assert json.loads((files / 'scores.json').read_text()) == json.loads(
        json.dumps({'label_divisor': DIVISOR, **result.to_dict()})
    )
    assert capsys.readouterr().out == (
        f'{result.format_table()}\n\n{result.format_classes()}\n'
        f'3 frames scored; saved to {files / "scores.json"}\n'
    )


def test_sub_folders_are_clips_and_predictions_may_have_more(tmp_path, files, capsys):
    clips = [random_clip(2, frames=4), random_clip(3, frames=2)]
    for name, clip in zip(('clips/a', 'clips/b'), clips, strict=True):
        write_clip(tmp_path / 'many', clip, name.removeprefix('clips/'), white=True)
    write_png(tmp_path / 'many/pred/c/0.png', [[0]])
    (tmp_path / 'many/gt/notes').mkdir()
    (tmp_path / 'many/classes.yaml').write_bytes((files / 'classes.yaml').read_bytes())
    score_files(tmp_path / 'many')
    assert expected(*clips).format_table() in capsys.readouterr().out


def test_the_flag_overrides_the_divisor_of_the_file_and_its_default_1000(files, capsys):
    (files / 'classes.yaml').write_text(yaml.safe_dump(LABELS.to_dicts()))
    with pytest.raises(ValueError, match='of class 65 with label_divisor 1000'):
        score_files(files)
    score_files(files, '--label-divisor', DIVISOR)
    assert expected(random_clip(1, frames=3)).format_table() in capsys.readouterr().out


def test_pixels_have_the_ids_of_the_class_file(files, capsys):
    """The ids are 10, 20, ... instead of indices, so 0 is no class."""
    entries = [
        {'id': 10 * i + 10, 'name': label.name, 'kind': 'thing' if label.is_thing else 'stuff'}
        for i, label in enumerate(LABELS.labels)
    ]
    text = yaml.safe_dump({'divisor': DIVISOR, 'classes': entries})
    (files / 'classes.yaml').write_text(text)
    for path in files.glob('*/*.png'):
        bgr = cv2.imread(str(path)).astype(np.int64)
        ids = bgr[..., 0] << 16 | bgr[..., 1] << 8 | bgr[..., 2]
        class_id, track_id = np.divmod(ids, DIVISOR)
        write_png(
            path, np.where(class_id == VOID_ID, 0, (10 * class_id + 10) * DIVISOR + track_id)
        )
    score_files(files)
    assert expected(random_clip(1, frames=3)).format_table() in capsys.readouterr().out
    write_png(files / 'pred/001.png', np.full((16, 24), 15 * DIVISOR))
    with pytest.raises(ValueError, match=r'of class 15 .* expected class 10, 20, 30, 40 or 255'):
        score_files(files)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            lambda f: (f / 'pred/001.png').unlink(),
            r'gt has 3 PNGs and .*pred has 2: expected one prediction for each frame',
        ),
        (
            lambda f: write_png(f / 'pred/001.png', [[0, 0]]),
            r'pred/001\.png has 2 x 1 pixels, .*gt/001\.png 24 x 16',
        ),
        (
            lambda f: write_png(f / 'pred/001.png', np.full((16, 24), 4 * DIVISOR + 3)),
            r'pred/001\.png: id 1027 is of class 4 with label_divisor 256, '
            'expected class 0 to 3 or 255',
        ),
        (
            lambda f: (f / 'gt/002.png').write_bytes(b'no picture'),
            r'gt/002\.png is not an 8-bit RGB PNG',
        ),
        (
            lambda f: cv2.imwrite(str(f / 'gt/002.png'), np.ones((16, 24), np.uint8)),
            r'gt/002\.png is not an 8-bit RGB PNG',
        ),
        (lambda f: (f / 'pred').rename(f / 'elsewhere'), r'no folder .*pred'),
        (
            lambda f: [path.unlink() for path in (f / 'gt').iterdir()],
            r'no PNG in .*gt or in a folder in it',
        ),
        (lambda f: (f / 'classes.yaml').unlink(), r'no class file at .*classes\.yaml'),
        (lambda f: (f / 'classes.yaml').write_text('{'), r'classes\.yaml is not YAML'),
        (
            lambda f: (f / 'classes.yaml').write_text(f'label_divisor: {2**40}\nlabels: []'),
            r'label_divisor must be a whole number over 0, at most 16777215, got 1099511627776',
        ),
        (
            lambda f: (f / 'classes.yaml').write_text('road'),
            r'classes\.yaml: it needs a list `classes`',
        ),
        (
            lambda f: (f / 'classes.yaml').write_text('[{name: road, is_thing: false}]'),
            r'classes\.yaml: label 0 lacks color',
        ),
        (
            lambda f: (f / 'classes.yaml').write_text('[{name: road, is_thing: false, color: 3}]'),
            r'classes\.yaml: ',
        ),
        (
            lambda f: (f / 'classes.yaml').write_text('{labels: [], label_divisor: 0}'),
            r'classes\.yaml: label_divisor must be a whole number over 0, at most 16777215, got 0',
        ),
    ],
)
def test_errors_name_the_bad_file(files, change, message):
    change(files)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        score_files(files, '--json', files / 'scores.json')
    assert not (files / 'scores.json').exists()


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (('--json', 'nowhere/scores.json'), '--json: no folder nowhere'),
        (
            ('--label-divisor', '0'),
            "--label-divisor must be a whole number of at least 1 and at most 16777215, got '0'",
        ),
    ],
)
def test_errors_name_the_bad_flag(files, flags, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        score_files(files, *flags)
