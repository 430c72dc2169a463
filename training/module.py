"""The Lightning module that trains any family."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Timer
from torch import Tensor

from panoptic_ros.image import CameraImage
from panoptic_ros.labels import LabelSet
from panoptic_ros.models.registry import build
from panoptic_ros.runtime.predictor import Predictor

from .backend import ModuleBackend, describe
from .data.sample import Batch, Sample
from .families import build_loss
from .schedule import poly, warmup
from .scoring import Scores
from .weights import load_weights


class PanopticModule(L.LightningModule):
    """Trains a family's model with its loss; validates it through its own forward.

    Args:
        family: a key of `panoptic_ros.models.registry.FAMILIES`.
        network: fields of the family's configuration; the rest take their defaults.
        loss: fields of the family's loss configuration.
        labels: the classes, as `LabelSet.to_dicts` gives them; taken from the data.
        input_size: (height, width) of the network's input, px; taken from the data.
        loss_stride: input pixels per cell of the maps that the loss sees: 4, 2 or 1.
        lr: peak learning rate of AdamW.
        weight_decay: of AdamW, on weights of two and more dimensions.
        warmup_steps: steps of linear rise to `lr`.
        power: of the polynomial decay to 0 at the end of the training.
        init_weights: a safetensors file of backbone weights under timm's names, or a checkpoint
            of an earlier training.
        recipe_hash: filled in by `panoptic train`.
    """

    def __init__(self, family: str, network: dict[str, Any], loss: dict[str, Any],
                 labels: list[dict[str, Any]], input_size: tuple[int, int],
                 loss_stride: int = 4, lr: float = 1e-3, weight_decay: float = 1e-4,
                 warmup_steps: int = 200, power: float = 0.9, init_weights: str | None = None,
                 recipe_hash: str = '') -> None:
        super().__init__()
        self.save_hyperparameters()
        self.labels = LabelSet.from_dicts(labels)
        self.model = build(family, self.labels, **network)
        self.loss = build_loss(family, loss)
        if init_weights is not None:
            load_weights(self.model, init_weights)
        self.model.to(memory_format=torch.channels_last)
        self.info = describe(self.model, (input_size[0], input_size[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; norms, biases and other vectors do not decay, and unit class means neither."""
        decayed: list[torch.nn.Parameter] = []
        exempt: list[torch.nn.Parameter] = []
        for name, parameter in self.named_parameters():
            decays = parameter.ndim > 1 and not name.endswith('semantic_mean')
            (decayed if decays else exempt).append(parameter)
        return torch.optim.AdamW(
            [{'params': decayed, 'weight_decay': self.hparams['weight_decay']},
             {'params': exempt, 'weight_decay': 0.0}], lr=self.hparams['lr'])

    def progress(self) -> float:
        """Part of the training that is done, by steps or by `max_time`, whichever is more."""
        total = self.trainer.estimated_stepping_batches
        done = self.trainer.global_step / total if 0 < total < math.inf else 0.0
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Timer) and (left := callback.time_remaining()) is not None:
                spent = callback.time_elapsed()
                done = max(done, spent / max(spent + left, 1e-9))
        return done

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any,
                       optimizer_closure: Any = None) -> None:
        """One step at the schedule's learning rate, which follows from the progress alone."""
        lr = (self.hparams['lr'] * poly(self.progress(), self.hparams['power'])
              * warmup(self.trainer.global_step, self.hparams['warmup_steps']))
        for group in optimizer.param_groups:
            group['lr'] = lr
        self.log('train/lr', lr)
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.model.renormalize()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch; its terms are logged without waiting for the device."""
        image = batch.image.contiguous(memory_format=torch.channels_last)
        terms = self.loss(self.model, batch._replace(image=image), self.hparams['loss_stride'])
        loss = terms.pop('loss')
        self.log_dict({f'train/{name}': value.detach() for name, value in terms.items()})
        self.log('train/loss', loss.detach(), prog_bar=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Starts the scores; averaged class means go back onto their sphere."""
        self.model.renormalize()
        self.predictor = Predictor(ModuleBackend(self.model), self.info)
        self.scores = Scores(self.labels)

    def validation_step(self, sample: Sample, batch_idx: int) -> Any:
        """Scores one image as the node sees it; gives its PanopticFrame."""
        frame = self.predictor.predict(CameraImage(sample.image, 'rgb'), stamp_s=0)
        self.scores.update(sample, frame)
        return frame

    def on_validation_epoch_end(self) -> None:
        """Logs the scores of all processes together."""
        for counts in self.scores.counts:
            total = self.trainer.strategy.reduce(
                torch.from_numpy(counts).to(self.device), reduce_op='sum')
            counts[...] = total.cpu().numpy()
        summary = self.scores.summary()
        self.log_dict({f'val/{name}': value for name, value in summary.items() if name != 'pq'})
        self.log('val/pq', summary['pq'], prog_bar=True)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses to go on with other classes than the checkpoint's."""
        names = [label['name'] for label in checkpoint['hyper_parameters']['labels']]
        if tuple(names) != self.labels.names:
            raise ValueError(f'the checkpoint has the classes {", ".join(names)}; '
                             f'the data has {", ".join(self.labels.names)}')
