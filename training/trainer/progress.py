# SPDX-License-Identifier: Apache-2.0
"""Progress of a training: the callback that shows it, and the lines at its end."""

import math
import sys
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.callbacks.progress.progress_bar import ProgressBar

from panoptic_ros.core.progress import Progress
from panoptic_ros.core.text import saved_lines

from .checkpoints import BestCheckpoint, LastCheckpoint


class TrainingProgress(ProgressBar):
    """Callback that shows the steps of the whole training, loss, best score and remaining time.

    After a resume the count starts at the checkpoint's step. See `Progress` for terminals and
    logs.
    """

    def __init__(self) -> None:
        super().__init__()
        self._is_enabled = True
        self._progress: Progress | None = None

    def disable(self) -> None:
        """Show nothing; Lightning calls this in all processes but the first."""
        self._is_enabled = False

    def enable(self) -> None:
        """Show the progress again."""
        self._is_enabled = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say what is trained, and start to count."""
        if not self._is_enabled:
            return
        total = total_steps(trainer)[0]
        self._progress = Progress('steps', total, done=trainer.global_step)
        parameters = sum(tensor.numel() for tensor in pl_module.parameters())
        to = f' to {total:.0f}' if math.isfinite(total) else ''
        others = f' and {trainer.world_size - 1} more' if trainer.world_size > 1 else ''
        images = sum(trainer.num_val_batches)  # type: ignore[attr-defined]
        print(
            f'{trainer.default_root_dir}: training {pl_module.hparams["family"]} '
            f'({parameters / 1e6:.1f} M parameters) on {trainer.strategy.root_device}{others} '
            f'from step {trainer.global_step}{to}; batches in an epoch: '
            f'{trainer.num_training_batches}, images in a validation: {images}',
            file=sys.stderr,
            flush=True,
        )

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Show the step."""
        self._show(trainer)

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Show the image of the validation."""
        total = sum(trainer.num_val_batches)  # type: ignore[attr-defined]
        self._show(trainer, f', validation {batch_idx + 1} of {total}')

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the final state on the screen or in the log."""
        self._close(is_complete=True)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Remove the bar before other lines are printed."""
        self._close(is_complete=False)

    def _show(self, trainer: L.Trainer, more: str = '') -> None:
        if self._progress is None:
            return
        words = filter(None, (loss_text(trainer), best_score(trainer)))
        total, left_s = total_steps(trainer)
        self._progress.update(trainer.global_step, ', '.join(words) + more, total, left_s)

    def _close(self, is_complete: bool) -> None:
        if self._progress is not None:
            self._progress.close(is_complete)
            self._progress = None


def total_steps(trainer: L.Trainer) -> tuple[float, float | None]:
    """Return the steps of the whole training, and the remaining time, s, if `max_time` ends it.

    In that case the steps are an estimate; infinity before the first step.
    """
    total, left_s, step = float(trainer.estimated_stepping_batches), None, trainer.global_step
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Timer) and (left := callback.time_remaining()) is not None:
            spent = callback.time_elapsed()
            expected = step * (spent + left) / spent if step and spent > 0 else math.inf
            if expected < total:
                total, left_s = max(math.ceil(expected), step), left
    return total, left_s


def loss_text(trainer: L.Trainer) -> str:
    """Return the loss of the newest batch as text; empty before the first."""
    loss = trainer.progress_bar_metrics.get('train/loss')
    return '' if loss is None else f'loss {loss:.3f}'


def best_score(trainer: L.Trainer) -> str:
    """Return the best score with its step as text; empty before the first validation."""
    best = _callback(trainer, BestCheckpoint)
    if best is None or best.best_model_score is None:
        return ''
    step = '' if best.best_step is None else f' (step {best.best_step})'
    return f'best PQ {float(best.best_model_score):.1f}{step}'


def last_lines(trainer: L.Trainer, folder: Path, is_complete: bool) -> list[str]:
    """Return the last lines of a training: steps, best score, folder and the next command.

    Args:
        trainer: of the training.
        folder: of the training.
        is_complete: False after Ctrl-C or SIGTERM.
    """
    last = _callback(trainer, LastCheckpoint)
    checkpoints = folder / 'checkpoints'
    total = total_steps(trainer)[0]
    of = f' of {total:.0f}' if math.isfinite(total) else ''
    steps = f'{trainer.global_step}{of} steps'
    words = [steps if is_complete else f'stopped after {steps}']
    if loss := loss_text(trainer):
        words.append(loss)
    words.append(best_score(trainer) or f'no validation{"" if is_complete else " yet"}')
    summary = '; '.join(words)
    if last is None or not last.started:
        return [f'{summary}; nothing new was saved']
    if is_complete:
        name = 'best' if (checkpoints / 'best.ckpt').is_file() else 'last'
        command = ['export', '--checkpoint', str(checkpoints / f'{name}.ckpt')]
        command += ['-o', f'{folder.resolve().name}.onnx']
    else:
        command = ['train', '--config', str(folder / 'config.yaml'), '--ckpt_path', 'last']
    return list(saved_lines(summary, [str(folder)], (), command))


def _callback(trainer: L.Trainer, kind: type) -> Any:
    """Return the trainer's callback of a class, or None."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return next((one for one in callbacks if isinstance(one, kind)), None)
