# SPDX-License-Identifier: Apache-2.0
"""Files and weights of checkpoints, read by the transformers library."""

from pathlib import Path
from typing import Any

from panoptic_ros.core.text import one_line
from panoptic_ros.models.huggingface.config import ARCHITECTURES

LFS_POINTER = b'version https://git-lfs'
"""First bytes of a pointer file, which is in place of a file that Git LFS has not fetched."""


def load_with_library(source: str) -> tuple[Any, Any, set[str]]:
    """Load a checkpoint with the library.

    Returns:
        its configuration, its module, and the names of the weights that are missing from the
        files, which the library fills with random values.

    Raises:
        ValueError: for a checkpoint of another architecture, or weights of other shapes.
        OSError: for a file that is missing or cannot be read.
    """
    import torch
    import transformers

    check_files(source)
    settings = read_config(source)
    network = getattr(transformers, ARCHITECTURES[settings.model_type].network)
    try:
        loaded, loading = network.from_pretrained(
            source,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except OSError:
        raise  # a file that is missing, or no connection
    except Exception as error:  # its type depends on the fault
        raise ValueError(f'{source} cannot be loaded: {reason(error)}') from None
    # The criterion is used in training only.
    if wrong := sorted(w for w in loading['mismatched_keys'] if not w[0].startswith('criterion.')):
        name, stored, expected = wrong[0]
        raise ValueError(
            f'{source}: {len(wrong)} weights have other shapes than its config.json '
            f'says, e.g. {name} has {list(stored)}, expected {list(expected)}; is '
            'the number of classes right?'
        )
    return settings, loaded, set(loading['missing_keys'])


def read_config(source: str) -> Any:
    """Return the configuration of a checkpoint.

    Raises:
        ValueError: for a checkpoint of another architecture, or a damaged file.
        OSError: for a file that is missing or cannot be read.
    """
    import transformers

    try:
        settings = transformers.AutoConfig.from_pretrained(source, trust_remote_code=False)
    except OSError:
        raise  # a file that is missing, or no connection
    except Exception as error:  # its type depends on the fault
        raise ValueError(f'{source} cannot be loaded: {reason(error)}') from None
    if settings.model_type not in ARCHITECTURES:
        raise ValueError(
            f'{source} cannot be loaded: it is a {settings.model_type} checkpoint; those that '
            f'work are: {", ".join(ARCHITECTURES)}'
        )
    return settings


def check_files(source: str) -> None:
    """Refuse a missing or incomplete folder, and weights that are LFS pointers or truncated.

    Raises:
        ValueError, OSError: naming the file or folder.
    """
    from safetensors import SafetensorError, safe_open

    folder = Path(source)
    if folder.is_file():
        raise NotADirectoryError(
            f'hf:{source}: {source} is a file; give the folder that holds '
            'config.json and the weights'
        )
    if not folder.exists() and (source.startswith(('/', '.', '~')) or source.count('/') > 1):
        raise FileNotFoundError(
            f'hf:{source}: no folder {source}; give one, or a checkpoint of '
            'the Hugging Face Hub as OWNER/NAME'
        )
    if folder.is_dir() and not (folder / 'config.json').is_file():
        raise FileNotFoundError(
            f'hf:{source}: the folder {source} holds no config.json; give '
            'the folder of a checkpoint that save_pretrained wrote'
        )
    files = sorted(Path(source).glob('*.safetensors'))
    pickles = sorted(path.name for path in Path(source).glob('*.bin'))
    if pickles and not files:
        raise ValueError(
            f'{source} holds its weights as {pickles[0]} only, a pickle, which can '
            'run code and is not loaded; save the checkpoint as safetensors'
        )
    for path in files:
        with path.open('rb') as file:
            start = file.read(len(LFS_POINTER))
        if start == LFS_POINTER:
            raise ValueError(
                f'{path} is a Git LFS pointer instead of the weights; fetch them '
                'with `git lfs pull`'
            )
        try:
            with safe_open(path, 'pt'):
                pass
        except SafetensorError as error:
            raise ValueError(
                f'{path} is not a complete safetensors file: {reason(error)}'
            ) from None


def reason(error: Exception) -> str:
    """Return the kind of an error of the library and its message as one line."""
    return f'{type(error).__name__}: {one_line(error)}'
