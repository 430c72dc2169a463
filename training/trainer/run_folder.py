# SPDX-License-Identifier: Apache-2.0
"""The folder of a training: whether it may be used, and how its checkpoints are written."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from panoptic_ros.core.files import atomic_write

from ..checkpoint import NonFiniteError, non_finite_weight

NAMES = ('best.ckpt', 'last.ckpt')


def checkpoint_folder(root: str | Path | None) -> Path:
    """Where the training in a folder (default: the current one) keeps its checkpoints."""
    return Path(root or '.') / 'checkpoints'


def find_start(root: str | Path | None, ckpt_path: str | None) -> Path | None:
    """The checkpoint that a training in a folder resumes from; None for a new training.

    Args:
        root: the folder.
        ckpt_path: a checkpoint, `last` for the folder's own, or None.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
    """
    if ckpt_path is None:
        return None
    start = checkpoint_folder(root) / 'last.ckpt' if ckpt_path == 'last' else Path(ckpt_path)
    if not start.is_file():
        raise FileNotFoundError(
            f'--ckpt_path {ckpt_path}: there is no checkpoint {start} to resume from'
        )
    return start


def require_unused(root: str | Path | None, start: Path | None, overwrite: bool) -> None:
    """Refuses a folder with checkpoints that a training would replace without being told to.

    Args:
        root: the folder.
        start: what the training resumes from.
        overwrite: whether it may replace them.

    Raises:
        ValueError: with the ways out.
    """
    folder = checkpoint_folder(root)
    resumes = start is not None and start.resolve() == (folder / 'last.ckpt').resolve()
    if resumes and overwrite:
        raise ValueError(
            '--ckpt_path last resumes the training in the folder, --overwrite true '
            'replaces it; give one of them'
        )
    found = [name for name in NAMES if (folder / name).exists()]
    if found and not resumes and not overwrite:
        raise ValueError(
            f'{folder} holds {" and ".join(found)} of an earlier training; resume it '
            'with --ckpt_path last, replace it with --overwrite true, or choose '
            'another folder with --trainer.default_root_dir'
        )


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint under a temporary name and renames it when all of it is on the disk.

    Lightning's own writer copies where the temporary folder is on another file system, so that
    a full disk or a kill leaves part of a checkpoint in place of the last good one.

    Args:
        after_first: is called once, when this process has written its first checkpoint.
    """

    def __init__(self, after_first: Callable[[], None]) -> None:
        self._after_first: Callable[[], None] | None = after_first

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Writes a checkpoint.

        Raises:
            NonFiniteError: if its weights are not finite; the file is left as it was.
            OSError: if it cannot be written, with its path; the file is left as it was.
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
