# SPDX-License-Identifier: Apache-2.0
"""Paths of files that ship with the package: launch, parameters, transport profile, model."""

import sys
from pathlib import Path

PACKAGE = 'panoptic_ros'

SCOPE = (
    'It was trained on drawn streets only, most of them with random materials, light and '
    'camera, starting from ImageNet weights. On a real street camera it finds road, sky, '
    'vegetation, buildings and pavement well and near cars one by one; it often confuses people '
    'and cyclists, misses distant people and thin poles, and splits lorries.'
)
"""What the packaged model was trained on and what it can see; README has the same sentences."""


STREET_PICTURE = Path(__file__).parents[1] / 'data' / 'street.jpg'
"""A drawn street, 288x512."""


def resource_file(name: str) -> Path:
    """Return the path of a shipped file, from a source tree, wheel, editable or colcon install.

    Args:
        name: relative to the package's share directory, e.g. `config/fastdds.xml`.

    Raises:
        FileNotFoundError: if no such file exists; lists the folders that were searched.
    """
    module = Path(__file__).resolve()
    # A source tree has the file beside the package; an install has it in a share/ that is a
    # sibling of the lib/ (or local/lib/) above site-packages, or in the interpreter's prefix.
    roots = [
        module.parents[2],
        *(parent / 'share' / PACKAGE for parent in module.parents[3:8]),
        Path(sys.prefix) / 'share' / PACKAGE,
    ]
    for root in roots:
        if (root / name).is_file():
            return root / name
    raise FileNotFoundError(
        f'{name} of {PACKAGE} is in none of: {", ".join(map(str, roots))}; '
        'install the package again'
    )


def packaged_models() -> list[Path]:
    """Return the model files inside the package, sorted by name."""
    return sorted((Path(__file__).resolve().parents[1] / 'data').glob('*.onnx'))


def default_model() -> Path:
    """Return the model file inside the package that is used by default.

    Raises:
        FileNotFoundError: if this copy of the package has no model file.
    """
    models = packaged_models()
    if not models:
        raise FileNotFoundError(
            f'this copy of {PACKAGE} has no model file; name one in the parameter `model`'
        )
    return models[0]
