# SPDX-License-Identifier: Apache-2.0
"""Trainings of several processes, started as docs/distributed.md does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning as L
from torch import nn

HELPERS = Path(__file__).parent

STEADY = (
    *('--data.augment.flip', '0', '--data.augment.scale', '[1, 1]', '--data.augment.color', '0'),
    *('--trainer.limit_val_batches', '0', '--model.lr', '1e-4'),
)
"""Flags of a training without augmentation and validation, in small steps."""


class LossRecorder(L.Callback):
    """Callback that freezes norms and dropout, and writes step, loss and images of each batch.

    Args:
        path: of the JSON files, to which `_<rank>.json` is added.
        stop_at: step before which all processes fail; -1 for none.
    """

    def __init__(self, path: str, stop_at: int = -1) -> None:
        self.path, self.stop_at, self.losses = path, stop_at, []

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *rest: Any
    ) -> None:
        if trainer.global_step == self.stop_at:
            raise RuntimeError('stopped by the test')
        for module in pl_module.modules():
            if isinstance(
                module, (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
            ):
                module.eval()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        index: int,
    ) -> None:
        names = [image.long().sum().item() for image in batch.image]
        self.losses.append((trainer.global_step, outputs['loss'].item(), names))

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self.on_train_end(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        path = Path(f'{self.path}_{trainer.global_rank}.json')
        path.write_text(json.dumps(self.losses))


def recorder_flags(path: Path, stop_at: int = -1) -> list[str]:
    """Return the flags that add a recorder."""
    config = {
        'class_path': 'distributed_training.LossRecorder',
        'init_args': {'path': str(path), 'stop_at': stop_at},
    }
    return ['--trainer.callbacks', json.dumps([config])]


def launch(
    flags: list[str], processes: int, command: str = 'train'
) -> subprocess.CompletedProcess:
    """Run a command of `panoptic` in several processes by torchrun, in one without it."""
    environment = os.environ | {'PYTHONPATH': str(HELPERS), 'OMP_NUM_THREADS': '1'}
    own = ['-m', 'panoptic_ros.cli.main', command, *flags]
    runner = ['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', str(processes)]
    words = own if processes == 1 else [*runner, *own]
    return subprocess.run(
        [sys.executable, *words],
        env=environment,
        timeout=280,
        capture_output=True,
        text=True,
        check=False,
    )


def parallel(processes: int) -> list[str]:
    """Return the flags of a training of several processes on this machine."""
    return ['--trainer.devices', str(processes), '--trainer.strategy', 'ddp']
