# SPDX-License-Identifier: Apache-2.0
"""Run of a training: checks before it starts, and its end after errors and signals."""

import errno
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.exceptions import SIGTERMException

from panoptic_ros.core.files import lock_folder

from ..checkpoint import NonFiniteError, find_non_finite, read_checkpoint
from .module import PanopticModule
from .progress import last_lines
from .quiet import quiet_libraries
from .recipe import RecipeCLI, make_cli


def require_resumable(path: Path, module: PanopticModule) -> None:
    """Refuse a checkpoint from which a training of this module cannot resume.

    Raises:
        ValueError: for a checkpoint that is damaged, holds weights only, or is of other classes,
            another network or another optimiser.
        NonFiniteError: for a state of the optimiser that is not finite.
    """
    checkpoint = read_checkpoint(path)
    own = module.configure_optimizers().state_dict()
    try:
        module.on_load_checkpoint(checkpoint)
        same = _signature(own) == _signature(checkpoint['optimizer_states'][0])
        moments = checkpoint['optimizer_states'][0]['state'].values()
        for key in ('callbacks', 'lr_schedulers', 'pytorch-lightning_version'):
            checkpoint[key]
        checkpoint['loops']['fit_loop']
    except (KeyError, IndexError, TypeError, AttributeError):
        raise ValueError(
            f'{path} lacks the state of a training to resume; --model.init_weights '
            'starts from its weights alone'
        ) from None
    if not same:
        raise ValueError(f"{path} is of a training with another optimiser than the recipe's")
    if any(find_non_finite(values) for values in moments):
        raise NonFiniteError(
            f'{path}: the state of the optimiser holds NaN or infinity; '
            '--model.init_weights starts from its weights alone'
        )


def _signature(optimizer: Mapping[str, Any]) -> list[tuple[bool, int]]:
    """Return per group whether the optimiser is a variant of Adam, and its parameter count."""
    # Other keys of a group depend on the version of torch.
    return [('betas' in group, len(group['params'])) for group in optimizer['param_groups']]


def train(args: Sequence[str]) -> None:
    """Run a training by flags; see `panoptic train --help`.

    Raises:
        ValueError: for an invalid recipe, folder or checkpoint.
        NonFiniteError: if the loss or a weight becomes NaN or infinite.
        OSError: for a file that cannot be read or written.
        KeyboardInterrupt: after Ctrl-C, once the checkpoint to resume from is written.
        SystemExit: after SIGTERM, likewise, with status 143.
    """
    with quiet_libraries():
        _train(make_cli(args))


def _train(cli: RecipeCLI) -> None:
    """Run a training, and print its last lines."""
    cli.datamodule.require_batch(cli.trainer.world_size)
    cli.model.configure_optimizers()  # raises before Lightning has written the first file
    if start := cli.find_start():
        require_resumable(start, cli.model)
    with lock_folder(cli.folder, 'training') if cli.trainer.is_global_zero else nullcontext():
        start = cli.find_start()  # another training may have ended here in the meantime
        try:
            with _without_writer_tracebacks():
                cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=start, weights_only=True)
        except MisconfigurationException as error:
            raise ValueError(error) from None
        except SIGTERMException:
            _print_end(cli, is_complete=False)
            sys.exit(128 + signal.SIGTERM)
        except SystemExit as stop:  # raised by Lightning after Ctrl-C
            if isinstance(stop.__context__, KeyboardInterrupt):
                _print_end(cli, is_complete=False)
                raise KeyboardInterrupt from None
            raise
        except OSError as error:
            if error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise OSError(error.errno, error.strerror, str(cli.folder)) from error
            raise
        _print_end(cli, is_complete=True)


def _print_end(cli: RecipeCLI, is_complete: bool) -> None:
    trainer: Any = cli.trainer
    if trainer.is_global_zero and not trainer.fast_dev_run:
        for line in last_lines(trainer, cli.folder, is_complete):
            print(line, flush=True)


@contextmanager
def _without_writer_tracebacks() -> Iterator[None]:
    """Suppress the traceback of TensorBoard's writer thread, e.g. for a full disk.

    The thread passes its error on to the training, which ends with it.
    """
    own = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if type(args.thread).__name__ != '_AsyncWriterThread':
            own(args)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = own
