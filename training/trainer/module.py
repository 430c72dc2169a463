# SPDX-License-Identifier: Apache-2.0
"""Lightning module that trains any family."""

import math
from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Timer
from torch import Tensor

from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.labels import LabelSet
from panoptic_ros.metrics.scores import ImageScores
from panoptic_ros.models.registry import build
from panoptic_ros.runtime.predictor import Predictor

from ..checkpoint import NonFiniteError, find_non_finite, load_pretrained
from ..data.class_table import require_same_classes
from ..data.sample import Batch, Sample
from ..evaluation.scoring import pair_of
from ..losses.registry import build_loss
from ..module_backend import ModuleBackend, model_info
from .optimizers import OptimizerConfig, make_optimizer
from .schedule import multistep, poly, warmup


class PanopticModule(L.LightningModule):
    """Training of a family's model with its loss, and validation through the model's forward.

    Args:
        family: a key of `panoptic_ros.models.registry.FAMILIES`.
        network: fields of the family's configuration; the others have their defaults.
        labels: the classes, as from `LabelSet.to_dicts`; set from the data.
        input_size: (height, width) of the network's input, px; set from the data.
        loss: fields of the family's loss configuration; the others have their defaults.
        loss_stride: input pixels per cell of the maps that the loss uses: 4, 2 or 1.
        lr: peak learning rate.
        optimizer: settings of the optimiser.
        warmup_steps: steps of linear rise to `lr`.
        power: exponent of the polynomial decay to 0 at the end of the training.
        milestones: steps of a multistep decay by 0.1 each, in place of the polynomial decay.
        init_weights: a safetensors file of backbone weights under timm's names, or a checkpoint
            of an earlier training.
        recipe_hash: set by `panoptic train`.
        warmup_start: learning rate of the first step relative to `lr`; at least
            1 / (warmup_steps + 1).
    """

    def __init__(
        self,
        family: str,
        network: dict[str, Any],
        labels: list[dict[str, Any]],
        input_size: tuple[int, int],
        loss: dict[str, Any] | None = None,
        loss_stride: int = 4,
        lr: float = 1e-3,
        optimizer: OptimizerConfig = OptimizerConfig(),  # noqa: B008  frozen
        warmup_steps: int = 200,
        power: float = 0.9,
        milestones: list[int] | None = None,
        init_weights: str | None = None,
        recipe_hash: str = '',
        warmup_start: float = 0.0,
    ) -> None:
        super().__init__()
        for name, value, is_valid, rule in (
            ('loss_stride', loss_stride, loss_stride in (1, 2, 4), 'be 4, 2 or 1'),
            ('lr', lr, 0 < lr < math.inf, 'be a number above 0'),
            ('warmup_steps', warmup_steps, warmup_steps >= 0, 'be at least 0'),
            ('power', power, 0 <= power < math.inf, 'be a number of at least 0'),
            ('warmup_start', warmup_start, 0 <= warmup_start <= 1, 'lie in 0 to 1'),
        ):
            if not is_valid:
                raise ValueError(f'model.{name} must {rule}, got {value}')
        self.save_hyperparameters(ignore='optimizer')  # checkpoints hold plain values only
        self.optimizer = optimizer
        self.labels = LabelSet.from_dicts(labels)
        self.loss = build_loss(family, loss or {})
        self.model = build(family, self.labels, **network)
        # All keys, so that later versions with other defaults build the same network.
        self.hparams['network'] = self.model.config_dict()
        if init_weights is not None:
            load_pretrained(self.model, init_weights)
        self.model.to(memory_format=torch.channels_last)
        self.info = model_info(self.model, (input_size[0], input_size[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the recipe's optimiser."""
        return make_optimizer(self.named_parameters(), self.optimizer, self.hparams['lr'])

    def progress(self) -> float:
        """Return the finished share of the training, by steps or `max_time`, the larger one."""
        total = self.trainer.estimated_stepping_batches
        done = self.trainer.global_step / total if 0 < total < math.inf else 0.0
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Timer) and (left := callback.time_remaining()) is not None:
                spent = callback.time_elapsed()
                # Clocks differ, and processes need the same learning rate.
                done = self.trainer.strategy.broadcast(max(done, spent / max(spent + left, 1e-9)))
        return done

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        """Take a step at the schedule's learning rate, which depends on the progress only."""
        step, milestones = self.trainer.global_step, self.hparams['milestones']
        decay = (
            poly(self.progress(), self.hparams['power'])
            if milestones is None
            else multistep(step, milestones)
        )
        lr = (
            self.hparams['lr']
            * decay
            * warmup(step, self.hparams['warmup_steps'], self.hparams['warmup_start'])
        )
        for group in optimizer.param_groups:
            group['lr'] = lr * group['lr_factor']
        self.log('train/lr', lr)
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.model.renormalize()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a batch, and log its terms without waiting for the device.

        Raises:
            NonFiniteError: if the loss is not finite; names the step and the terms.
        """
        image = batch.image.contiguous(memory_format=torch.channels_last)
        self.model.on_step(self.progress())
        terms = self.loss(self.model, batch._replace(image=image), self.hparams['loss_stride'])
        loss = terms.pop('loss')
        self._require_finite(loss, terms)
        self.log_dict({f'train/{name}': value.detach() for name, value in terms.items()})
        self.log('train/loss', loss.detach(), prog_bar=True)
        return loss

    def _require_finite(self, loss: Tensor, terms: Mapping[str, Tensor]) -> None:
        """Stop a training that has diverged, in all its processes.

        One value is read from the device in each step.
        """
        # With `16-mixed` this is the loss before the GradScaler multiplies it. A scale that is
        # too large makes gradients infinite; the scaler then skips the step, lowers the scale,
        # and the training continues. It cannot make this loss infinite: an infinite loss is an
        # overflow in the network's forward pass, and a lower scale does not prevent it.
        finite = bool(loss.detach().isfinite())
        if self.trainer.strategy.reduce_boolean_decision(finite):
            return
        values = ', '.join(
            f'{name} {value.item():.4g}' for name, value in {'loss': loss, **terms}.items()
        )
        weight = find_non_finite(dict(self.named_parameters()))
        cause = f'; the step before made the weight {weight!r} NaN or infinite' if weight else ''
        where = ' in another process' if finite else ''
        raise NonFiniteError(
            f'the loss of step {self.trainer.global_step + 1} is not finite'
            f'{where} ({values}){cause}; try a lower model.lr, more '
            'model.warmup_steps or trainer.gradient_clip_val'
        )

    def on_validation_epoch_start(self) -> None:
        """Reset the scores, and normalise averaged class means to unit length.

        Raises:
            NonFiniteError: if an earlier step made a weight NaN or infinite.
        """
        if weight := find_non_finite(self.state_dict()):
            raise NonFiniteError(
                f'after step {self.trainer.global_step} the weight {weight!r} is '
                'not finite, although the loss was; try a lower model.lr, more '
                'model.warmup_steps or trainer.gradient_clip_val'
            )
        self.model.renormalize()
        self.predictor = Predictor(ModuleBackend(self.model), self.info)
        self.scores = ImageScores(self.labels)

    def validation_step(self, sample: Sample, batch_idx: int) -> Any:
        """Score one image as the node sees it, and return its PanopticFrame."""
        frame = self.predictor.predict(CameraImage(sample.image, 'rgb'), stamp_s=0)
        self.scores.update(pair_of(sample, frame, self.labels))
        return frame

    def on_validation_epoch_end(self) -> None:
        """Log the scores over all processes."""
        for counts in self.scores.counts:
            total = self.trainer.strategy.reduce(
                torch.from_numpy(counts).to(self.device), reduce_op='sum'
            )
            counts[...] = total.cpu().numpy()
        summary = self.scores.summary()
        for name, value in summary.items():
            self.log(f'val/{name}', value, prog_bar=name == 'pq', sync_dist=True)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to resume with other classes or another network than the checkpoint's.

        Raises:
            ValueError: naming the first difference.
        """
        require_same_classes(
            LabelSet.from_dicts(checkpoint['hyper_parameters']['labels']),
            'the checkpoint',
            self.labels,
            'the data',
        )
        own, found = (
            {key: value.shape for key, value in state.items()}
            for state in (self.state_dict(), checkpoint['state_dict'])
        )
        other = sorted(key for key in own.keys() | found.keys() if own.get(key) != found.get(key))
        if other:
            raise ValueError(
                f"the checkpoint is of another network than the recipe's: "
                f'{len(other)} of {len(own)} tensors differ, e.g. {other[0]!r}'
            )
