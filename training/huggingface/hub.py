# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of the Hugging Face Hub, or in a folder: files, revision, card and input size."""

import hashlib
import re
from pathlib import Path

from panoptic_ros.core.card import MAX_CARD_CHARS
from panoptic_ros.core.documents import parse_yaml
from panoptic_ros.core.progress import in_terminal
from panoptic_ros.core.text import one_line

from .loading import check_files, read_config
from .processor import image_processor, input_size

CARD_FILE = 'README.md'
"""File of a checkpoint with its model card: YAML between two lines `---`, then Markdown."""

MAX_HEADER_CHARS = 1 << 16
"""Most characters of a model card that are read, for its header."""

FILES = ('*.json', '*.txt', '*.model', '*.safetensors', CARD_FILE)
"""Files that are downloaded; weights in pickles are not."""

REVISION_CHARS = 12

SHORT_SIDE = 512
"""Largest height of the input of a checkpoint that keeps the image's shape, px."""

SHAPE = (16, 9)
"""Width and height of a common camera image."""

MULTIPLE = 32
"""Both sides of an input are multiples of this, the largest stride of the networks, px."""


def fetch(place: str) -> tuple[Path, str]:
    """Return the folder of a checkpoint and its revision; download what is missing.

    Args:
        place: a folder, or a repository of the hub as OWNER/NAME.

    Returns:
        The folder, and the first characters of the commit; for a folder of the user, of a hash of
        its path and of the names, sizes and times of its files.

    Raises:
        FileNotFoundError: if there is no such folder or repository, or no connection and no copy
            in the library's cache.
        ValueError: for a name that the hub cannot have, or files that `check_files` refuses.
    """
    if not place:
        raise ValueError('hf: names no checkpoint, expected hf:OWNER/NAME or hf:FOLDER')
    check_files(place)
    folder = Path(place)
    if folder.is_dir():
        files = sorted(path for path in folder.iterdir() if path.is_file())
        states = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files]
        text = repr((str(folder.resolve()), states))
        return folder, hashlib.sha256(text.encode()).hexdigest()[:REVISION_CHARS]
    folder = Path(_download(place))
    check_files(str(folder))
    return folder, folder.name[:REVISION_CHARS]


def _download(repository: str) -> str:
    """Return the folder of a repository's newest revision in the library's cache."""
    from huggingface_hub import errors, snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not in_terminal():  # its bars would fill a log
        disable_progress_bars()
    try:
        return str(snapshot_download(repository, allow_patterns=list(FILES)))
    except errors.HFValidationError:
        raise ValueError(
            f'hf:{repository} is neither a folder nor a repository of the Hugging Face Hub, '
            'OWNER/NAME'
        ) from None
    except errors.GatedRepoError:
        raise FileNotFoundError(
            f'hf:{repository} is open only to users who have accepted its terms; accept them on '
            'the hub and run `hf auth login`'
        ) from None
    except errors.RepositoryNotFoundError:
        raise FileNotFoundError(
            f'hf:{repository}: the Hugging Face Hub has no such public repository, and no folder '
            'has this name'
        ) from None
    except errors.LocalEntryNotFoundError:
        raise FileNotFoundError(
            f'hf:{repository} is not in the cache of the Hugging Face Hub, and there is no '
            'connection; connect once, or give the folder of a checkpoint'
        ) from None


def card_of(folder: Path) -> dict[str, str]:
    """Return what the header of a checkpoint's README.md says about data and licence.

    Args:
        folder: folder of the checkpoint.

    Returns:
        Fields of `CARD_FIELDS`; empty without such a file or header. What is no text is left out.
    """
    path = folder / CARD_FILE
    if not path.is_file():
        return {}
    with path.open(encoding='utf-8-sig', errors='replace') as file:
        found = re.match(r'---\s*\n(.*?)\n---\s*\n', f'{file.read(MAX_HEADER_CHARS)}\n', re.DOTALL)
    try:
        header = parse_yaml(found[1], str(path)) if found else None
    except ValueError:
        return {}
    if not isinstance(header, dict):
        return {}
    licence = header.get('license')
    if licence == 'other':
        licence = header.get('license_name') or licence
    values = {'training_data': header.get('datasets'), 'weights_licence': licence}
    texts = {
        name: ', '.join(
            one_line(part)
            for part in (value if isinstance(value, list) else [value])
            if isinstance(part, str) and part.strip()
        )[:MAX_CARD_CHARS]
        for name, value in values.items()
    }
    return {name: text for name, text in texts.items() if text}


def camera_size(folder: Path) -> tuple[int, int]:
    """Return the input size for camera images, (height, width) px.

    A checkpoint with a size of its own keeps it. One that keeps the image's shape gets an input of
    16:9 whose height is its short side, at most SHORT_SIDE.
    """
    settings = read_config(str(folder))
    processor = image_processor(str(folder))
    own = input_size(str(folder), settings, processor)
    if own is not None:
        return own
    size = processor.get('size')
    short = size.get('shortest_edge') if isinstance(size, dict) else None
    height = min(short, SHORT_SIDE) if isinstance(short, int) and short > 0 else SHORT_SIDE
    width = height * SHAPE[0] / SHAPE[1]
    return _rounded(height), _rounded(width)


def _rounded(side: float) -> int:
    return max(MULTIPLE, round(side / MULTIPLE) * MULTIPLE)
