# SPDX-License-Identifier: Apache-2.0
"""Models that commands take: the packaged one, a model file, or a checkpoint of Hugging Face.

A checkpoint, `hf:<repository or folder>`, is exported once into the user's cache.
"""

import argparse
import re
import sys
from pathlib import Path

from panoptic_ros.core.files import cache_folder
from panoptic_ros.core.inputs import CHECKPOINT
from panoptic_ros.core.progress import working
from panoptic_ros.core.resources import default_model
from panoptic_ros.core.version import __version__

MODEL_HELP = 'a model file, or hf:REPOSITORY or hf:FOLDER, a checkpoint of transformers'
"""What a command's model may be, for its help."""

STRIDE = 4
"""Input pixels per cell of exported checkpoints, which predict masks at this stride."""


def add_trained_model(parser: argparse.ArgumentParser) -> None:
    """Add the flag --model, a model file or a checkpoint of any kind."""
    parser.add_argument(
        '--model',
        type=model_argument,
        required=True,
        metavar='MODEL',
        help=f'{MODEL_HELP}, or a checkpoint of `panoptic train` (.ckpt)',
    )


def model_argument(text: str) -> str | Path:
    """Return an argument as a path, or as it is if it names a checkpoint.

    Raises:
        ArgumentTypeError: for an empty text, as of an unset variable of a shell; as a path it
            would be the working folder.
    """
    if not text:
        raise argparse.ArgumentTypeError('is empty, expected a path; is a variable not set?')
    return text if text.startswith(CHECKPOINT) else Path(text)


def model_path(source: str | Path | None) -> Path:
    """Return the model file of an argument; export a checkpoint if that was not done before.

    Args:
        source: of `model_argument`; None is the packaged model.

    Raises:
        ValueError: for a checkpoint that cannot be exported, or if the packages for that are
            missing.
        OSError: for a file that is missing, or a checkpoint that cannot be downloaded.
    """
    if source is None:
        return default_model()
    return Path(source) if isinstance(source, Path) else _exported(source)


def _exported(source: str) -> Path:
    """Return the model file of a checkpoint, from the cache if it is there."""
    place = source.removeprefix(CHECKPOINT)
    prepare_transformers(source)
    from panoptic_training.export import export_model
    from panoptic_training.huggingface.checkpoint import open_transformers
    from panoptic_training.huggingface.hub import camera_size, card_of, fetch

    folder, revision = fetch(place)
    height, width = camera_size(folder)
    name = re.sub(r'[^\w.-]+', '_', place.strip('/').split('/')[-1])
    path = cache_folder('models') / (
        f'{name}_{height}x{width}_stride{STRIDE}_{revision}_{__version__}.onnx'
    )
    if _is_valid(path):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with working(f'exporting {source}'):
        module, _ = open_transformers(str(folder))
        export_model(module, path, (height, width), name=name, stride=STRIDE, card=card_of(folder))
    size = path.stat().st_size / 1e6
    print(
        f'exported {source}, revision {revision}, input {height}x{width}, stride {STRIDE}, '
        f'{size:.1f} MB; saved to {path}. `panoptic export` takes other sizes',
        file=sys.stderr,
    )
    return path


def prepare_transformers(source: str) -> None:
    """Import the library that opens a checkpoint, and turn off what it prints.

    Raises:
        ValueError: if it or PyTorch is not installed; names the checkpoint.
    """
    try:
        import torch  # noqa: F401
        import transformers
    except ImportError as error:
        raise ValueError(
            f'{source} is exported on this machine, which needs PyTorch and transformers '
            f'({error}): pip install "panoptic_ros[train,hf]", or run `panoptic export --from '
            f'{source} -o model.onnx` where they are installed, and give that file'
        ) from None
    transformers.logging.set_verbosity_error()  # its reports of weights are replaced by one line
    transformers.logging.disable_progress_bar()  # `working` shows the progress


def _is_valid(path: Path) -> bool:
    """Return whether a file is a complete model file."""
    from panoptic_ros.core.model_file import ModelFileError, read_info

    try:
        read_info(path)
    except ModelFileError:
        return False
    return True
