# SPDX-License-Identifier: Apache-2.0
"""Folder of a training: its checkpoints, whether it may be used, and safe writing."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from panoptic_ros.core.files import atomic_write
from panoptic_ros.core.inputs import near_name

from ..checkpoint import NonFiniteError, non_finite_weight

CHECKPOINT_NAMES = ('best.ckpt', 'last.ckpt')


def checkpoint_folder(root: str | Path | None) -> Path:
    """Return the folder of the checkpoints of the training in `root` (default: the current)."""
    return Path(root or '.') / 'checkpoints'


def find_start(root: str | Path | None, ckpt_path: str | None) -> Path | None:
    """Return the checkpoint that a training in a folder resumes from; None for a new training.

    Args:
        root: the folder.
        ckpt_path: a checkpoint, `last` for the folder's last.ckpt, or None.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        IsADirectoryError: for a folder.
    """
    if ckpt_path is None:
        return None
    start = checkpoint_folder(root) / 'last.ckpt' if ckpt_path == 'last' else Path(ckpt_path)
    if start.is_dir():
        raise IsADirectoryError(f'--ckpt_path {ckpt_path} is a folder, expected a checkpoint')
    if not start.is_file():
        raise FileNotFoundError(
            f'--ckpt_path {ckpt_path}: there is no checkpoint {start} to resume from'
            f'{near_name(start)}'
        )
    return start


def require_unused(root: str | Path | None, start: Path | None, overwrite: bool) -> None:
    """Refuse a folder whose checkpoints a training would replace without the user's consent.

    Args:
        root: the folder.
        start: the checkpoint that the training resumes from.
        overwrite: whether the training may replace checkpoints.

    Raises:
        ValueError: naming the flags that resolve the conflict.
    """
    folder = checkpoint_folder(root)
    resumes = start is not None and start.resolve() == (folder / 'last.ckpt').resolve()
    if resumes and overwrite:
        raise ValueError(
            '--ckpt_path last resumes the training in the folder, --overwrite true '
            'replaces it; give one of them'
        )
    found = [name for name in CHECKPOINT_NAMES if (folder / name).exists()]
    settings = folder.parent / 'config.yaml'
    if settings.exists() and not found and not overwrite:
        raise ValueError(
            f'{settings} would be replaced by the settings of this training, and there are no '
            'checkpoints of an earlier one; rename it, or choose another folder with '
            '--trainer.default_root_dir'
        )
    if found and not resumes and not overwrite:
        raise ValueError(
            f'{folder} holds {" and ".join(found)} of an earlier training; resume it '
            'with --ckpt_path last, replace it with --overwrite true, or choose '
            'another folder with --trainer.default_root_dir'
        )


class AtomicCheckpointIO(TorchCheckpointIO):
    """Atomic writing of checkpoints: a temporary file that is renamed once it is complete.

    Lightning's own writer copies if the temporary folder is on another file system, so a full
    disk or a kill would leave a truncated checkpoint in place of the last good one.

    Args:
        after_first: called once, after this process has written its first checkpoint.
    """

    def __init__(self, after_first: Callable[[], None]) -> None:
        self._after_first: Callable[[], None] | None = after_first

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a checkpoint; after an error, the file is as it was before.

        Raises:
            NonFiniteError: for weights that are not finite.
            OSError: if it cannot be written, with its path.
        """
        path = Path(path)
        if name := non_finite_weight(checkpoint):
            raise NonFiniteError(
                f'after step {checkpoint["global_step"]} the weight {name!r} is '
                f'not finite; {path} is not written'
            )
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            temporary.write_bytes(buffer.getbuffer())
        if self._after_first is not None:
            after_first, self._after_first = self._after_first, None
            after_first()
