# SPDX-License-Identifier: Apache-2.0
"""Classes of the synthetic city, and the seeds of its splits."""

from panoptic_ros.core.labels import Label, LabelSet

LABELS = LabelSet(
    (
        Label('road', False, (128, 64, 128), 0),
        Label('pavement', False, (244, 35, 232), 1),
        Label('building', False, (70, 70, 70), 2),
        Label('vegetation', False, (107, 142, 35), 3),
        Label('sky', False, (70, 130, 180), 4),
        Label('pole', False, (190, 190, 140), 5),
        Label('car', True, (0, 0, 142), 6),
        Label('person', True, (220, 20, 60), 7),
        Label('cyclist', True, (119, 11, 32), 8),
    )
)
"""Stuff first, then things; colours after Cityscapes."""

ROAD, PAVEMENT, BUILDING, VEGETATION, SKY, POLE, CAR, PERSON, CYCLIST = range(len(LABELS))

TRAIN_SEEDS = range(0, 1_000_000)
VAL_SEEDS = range(1_000_000, 1_001_000)
TEST_SEEDS = range(1_001_000, 1_002_000)

SPLITS = {'train': TRAIN_SEEDS, 'val': VAL_SEEDS, 'test': TEST_SEEDS}
"""Seeds by split, without overlap."""


def split_of(seed: int) -> str:
    """Return the split of a seed: `train`, `val` or `test`.

    Raises:
        ValueError: for a seed that belongs to no split.
    """
    for name, seeds in SPLITS.items():
        if seed in seeds:
            return name
    raise ValueError(f'seed {seed} belongs to no split; seeds go from 0 to {TEST_SEEDS.stop - 1}')
