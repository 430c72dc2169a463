# SPDX-License-Identifier: Apache-2.0
"""From a fleet's recordings back to training, on drawn streets.

A model that has seen daylight only drives at night. `panoptic mine` picks frames of the night,
their labels are corrected, the model is trained on, and two suites of recordings say what was
gained:

    python examples/close_the_loop.py -o loop
    python examples/close_the_loop.py -o trial --steps 40 --clips 2 --frames 20 --count 10

Here the generator corrects the labels, as it knows what it has drawn. Each step is skipped if its
result is there, so that the same command resumes.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from panoptic_ros.cli.main import COMMANDS
from panoptic_ros.core.class_file import format_class_file
from panoptic_ros.core.files import write_bytes
from panoptic_ros.core.id_png import write_png
from panoptic_ros.mining.sources import read_sources
from panoptic_training.data.files import thing_table
from panoptic_training.data.synthetic import LABELS, SPLITS, SyntheticClip, SyntheticFrame

SIZE = 128, 256
START_NS = 1_700_000_000_000_000_000
STEP_NS = 100_000_000
FRAMES_APART = 2
"""Frames of the drawn video, at 20 Hz, from one recorded image to the next."""

DIVISOR = 10_000
RECIPE = 'hle_mobilenetv2_city'

SUITE = """\
model: ../{name}.onnx
recordings:
  - path: ../drives/night_test_*
    ground_truth: ../labels/{{name}}
    tags: [night]
  - path: ../drives/day_test_*
    ground_truth: ../labels/{{name}}
    tags: [day]
"""


def main() -> None:
    """Run all steps."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('-o', '--output', type=Path, default=Path('loop'))
    parser.add_argument('--steps', type=int, default=1500, help='training steps by day')
    parser.add_argument('--clips', type=int, default=10, help='recordings of each kind')
    parser.add_argument('--frames', type=int, default=60, help='images of a recording')
    parser.add_argument('--count', type=int, default=100, help='frames to mine')
    args = parser.parse_args()
    out: Path = args.output
    (out / 'suites').mkdir(parents=True, exist_ok=True)
    record(out, args.clips, args.frames)
    train(out, 'day', args.steps, ['--data.train.time_of_day', 'day', *val('synthetic')])
    if not (out / 'picked/picks.json').exists():
        drives = sorted(map(str, (out / 'drives').glob('night_mine_*')))
        tests = sorted(map(str, (out / 'drives').glob('*_test_*')))
        panoptic(
            *('mine', *drives, '--model', out / 'day.onnx', '--val', *tests),
            *('--count', args.count, '-o', out / 'picked'),
        )
    label(out)
    start = out / 'runs/day/checkpoints/last.ckpt'
    flags = ['--data.dataset', f'folder:{out / "labelled"}', '--model.init_weights', str(start)]
    clear = ['--data.train', 'null', '--data.val', 'null', '--data.batch_size', '4']
    train(out, 'night', args.steps // 2, [*clear, *flags])
    compare(out)


def val(dataset: str) -> list[str]:
    """Return the flags of a short validation."""
    return ['--data.dataset', dataset, '--data.val.length', '20']


def panoptic(*words: object) -> None:
    """Run a command of `panoptic`."""
    line = [sys.executable, '-m', 'panoptic_ros.cli.main', *map(str, words)]
    print('$ panoptic', *line[3:], flush=True)
    subprocess.run(line, check=True)


def clip_of(name: str) -> SyntheticClip:
    """Return the street of a recording, `night_test_3`."""
    time_of_day, kind, number = name.split('_')
    # Streets of the tests occur in no other recording and in no training.
    seeds = SPLITS['test' if kind == 'test' else 'val']
    seed = seeds[int(number)]
    return SyntheticClip(seed, SIZE, time_of_day=time_of_day)


def record(out: Path, clips: int, frames: int) -> None:
    """Write recordings, folders of images named by stamps, and the ground truth of the tests."""
    for kind in ('night_mine', 'night_test', 'day_test'):
        for number in range(clips):
            drive = out / 'drives' / f'{kind}_{number}'
            if (drive / f'{START_NS + (frames - 1) * STEP_NS}.png').exists():
                continue
            drive.mkdir(parents=True, exist_ok=True)
            clip, labels = clip_of(drive.name), out / 'labels' / drive.name
            if kind.endswith('test'):
                labels.mkdir(parents=True, exist_ok=True)
                write_bytes(format_class_file(LABELS, DIVISOR).encode(), labels / 'classes.yaml')
            for index in range(frames):
                frame, name = clip.frame(index * FRAMES_APART), f'{START_NS + index * STEP_NS}.png'
                if kind.endswith('test'):
                    write_png(ids_of(frame), labels / name)
                cv2.imwrite(str(drive / name), frame.image[..., ::-1])


def ids_of(frame: SyntheticFrame) -> np.ndarray:
    """Return class id * DIVISOR + track id of each pixel, the track id 0 for stuff."""
    is_thing = thing_table(LABELS)[frame.class_map]
    return frame.class_map.astype(np.int64) * DIVISOR + np.where(is_thing, frame.track_map, 0)


def train(out: Path, name: str, steps: int, flags: Iterable[str]) -> None:
    """Train `runs/<name>` and export `<name>.onnx`."""
    if (out / f'{name}.onnx').exists():
        return
    folder = out / 'runs' / name
    panoptic(
        *('train', '--config', RECIPE, '--trainer.default_root_dir', folder, '--overwrite'),
        *('--data.input_size', list(SIZE), '--data.crop', [SIZE[0] * 3 // 4, SIZE[1] * 3 // 4]),
        *('--trainer.max_time', 'null', '--trainer.max_steps', steps),
        *('--trainer.val_check_interval', steps, *flags),
    )
    checkpoint = folder / 'checkpoints/last.ckpt'
    panoptic('export', '--checkpoint', checkpoint, '--stride', 4, '-o', out / f'{name}.onnx')


def label(out: Path) -> None:
    """Write the picked frames with the generator's labels, and as many frames by day."""
    folder = out / 'labelled'
    if (folder / 'classes.yaml').exists():
        return
    for split in ('train', 'val'):
        for kind in ('images', 'labels'):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
    sources = read_sources(out / 'picked')
    frames = {}
    for stem, (recording, _, stamp_ns) in sources.images.items():
        clip = clip_of(Path(sources.recordings[recording][0]).name)
        frames[stem] = clip.frame((stamp_ns - START_NS) // STEP_NS * FRAMES_APART)
    for number in range(len(frames)):
        seed = SPLITS['train'][number]
        frames[f'day_{number}'] = SyntheticClip(seed, SIZE, time_of_day='day').frame(number)
    for place, (stem, frame) in enumerate(frames.items()):
        split = 'val' if place % 10 == 9 else 'train'
        cv2.imwrite(str(folder / f'images/{split}/{stem}.png'), frame.image[..., ::-1])
        write_png(ids_of(frame), folder / f'labels/{split}/{stem}.png')
    write_bytes(format_class_file(LABELS, DIVISOR).encode(), folder / 'classes.yaml')


def compare(out: Path) -> None:
    """Replay the tests with both models, and compare them."""
    for name in ('day', 'night'):
        write_bytes(SUITE.format(name=name).encode(), out / f'suites/{name}.yaml')
    if 'suite' not in COMMANDS:
        print('this version has no `panoptic suite`; the suites and models to compare are ready')
        return
    for name in ('day', 'night'):
        panoptic('suite', 'run', out / f'suites/{name}.yaml', '-o', out / f'results_{name}')
    panoptic(
        'suite', 'compare', out / 'results_day', out / 'results_night', '-o', out / 'compared'
    )


if __name__ == '__main__':
    main()
