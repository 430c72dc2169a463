# SPDX-License-Identifier: Apache-2.0
"""Callbacks that keep `best.ckpt` and `last.ckpt`."""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint

from ..checkpoint import NonFiniteError, non_finite_weight


class StartedCheckpoint(ModelCheckpoint):
    """Base of the checkpoint callbacks; tracks whether this process has finished a step."""

    started = False
    """Whether this process has finished a step."""

    _start = 0

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the best score of a folder that was moved or copied.

        Lightning drops it if the path differs, so a worse model would replace `best.ckpt`.
        """
        folder, state = Path(str(self.dirpath)), checkpoint['callbacks'].get(self.state_key)
        if state and Path(str(trainer.ckpt_path)).resolve().parent == folder.resolve():

            def moved(path: str) -> str:
                return str(folder / Path(path).name) if path else ''

            state['dirpath'] = str(self.dirpath)
            for key in ('best_model_path', 'kth_best_model_path', 'last_model_path'):
                state[key] = moved(state[key])
            state['best_k_models'] = {
                moved(path): score for path, score in state['best_k_models'].items()
            }

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Store the step at which this process starts."""
        super().on_train_start(trainer, pl_module)
        self._start = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Register the first step."""
        # Lightning still finishes the step during which SIGTERM arrives. If that is the only
        # step, nothing is saved. A dry run, `fast_dev_run`, must not write checkpoints.
        if (
            trainer.global_step > self._start
            and not trainer.received_sigterm
            and not trainer.fast_dev_run  # type: ignore[attr-defined]
        ):
            self.started = True
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)


class BestCheckpoint(StartedCheckpoint):
    """Callback that keeps `best.ckpt`, the checkpoint with the highest PQ in validation."""

    best_step: int | None = None
    """Number of steps after which the best score was reached; None if it is not known."""

    def __init__(self, dirpath: str) -> None:
        super().__init__(
            dirpath, 'best', monitor='val/pq', mode='max', enable_version_counter=False
        )

    def state_dict(self) -> dict[str, Any]:
        """Return Lightning's state, and the step of the best score."""
        return {**super().state_dict(), 'best_step': self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state; checkpoints of earlier versions lack the step."""
        super().load_state_dict(state_dict)
        self.best_step = state_dict.get('best_step')

    def _save_checkpoint(self, trainer: L.Trainer, filepath: str) -> None:
        self.best_step = trainer.global_step  # before the state is written
        super()._save_checkpoint(trainer, filepath)

    def _should_skip_saving_checkpoint(self, trainer: L.Trainer) -> bool:
        # A training that was stopped during a validation resumes with it, before any step.
        return super()._should_skip_saving_checkpoint(trainer) or (
            trainer.received_sigterm and not self.started
        )


class LastCheckpoint(StartedCheckpoint):
    """Callback that keeps `last.ckpt`, written after each validation, at the end, and on a stop.

    It is also written after Ctrl-C, SIGTERM and errors, so that `--ckpt_path last` resumes from
    there. An older file stays until this process has finished a step. Weights that are not finite
    are never written.
    """

    def __init__(self, dirpath: str) -> None:
        super().__init__(dirpath, 'last', enable_version_counter=False)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the final state."""
        if self.started:
            # The complete state: optimiser, progress and averages as well as the weights.
            trainer.save_checkpoint(self._path, weights_only=False)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Save the state at which the training was stopped."""
        if not self.started:
            return
        if isinstance(exception, NonFiniteError) and self._path.exists():
            return  # The file's weights precede the divergence.
        _discard_partial_batch(trainer)
        connector: Any = trainer._checkpoint_connector
        checkpoint = connector.dump_checkpoint(weights_only=False)
        if non_finite_weight(checkpoint) is None:
            # `trainer.save_checkpoint` has a barrier, at which other processes may never arrive.
            trainer.strategy.save_checkpoint(checkpoint, self._path)

    def _should_skip_saving_checkpoint(self, trainer: L.Trainer) -> bool:
        return super()._should_skip_saving_checkpoint(trainer) or not self.started

    @property
    def _path(self) -> Path:
        return Path(str(self.dirpath)) / 'last.ckpt'


def _discard_partial_batch(trainer: L.Trainer) -> None:
    """Reset the progress to before a batch, or a whole validation, that was interrupted.

    Lightning would count the interrupted batch, and after a resume compute the scores of a
    validation from its remaining images only.
    """
    loop: Any = trainer.fit_loop.epoch_loop
    progress = loop.val_loop.batch_progress if trainer.validating else loop.batch_progress
    progress.is_last_batch = False
    for count in (progress.total, progress.current):
        if trainer.validating:  # as if it was interrupted during its first image
            count.ready = count.started = 1
            count.processed = count.completed = 0
        else:
            count.ready = count.started = count.completed = count.processed
