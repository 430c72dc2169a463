# SPDX-License-Identifier: Apache-2.0
"""Checkpoints and safetensors files; pickles in them must not be executed."""

import io
import json
import os
import pickle
import struct
import zipfile
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fuzz import mutate
from fuzz.case import CANARY, Case, Target, Wrong
from panoptic_ros.models.registry import FAMILIES, build
from panoptic_training.checkpoint import load_checkpoint, load_pretrained, read_checkpoint
from panoptic_training.data.synthetic import LABELS

FILE = 'last.ckpt'


class Mark:
    """Value whose unpickling leaves a mark in the working folder."""

    def __reduce__(self) -> Any:
        return os.mkdir, (CANARY,)


class MarkByEval(Mark):
    def __reduce__(self) -> Any:
        return eval, (f'__import__("os").mkdir("{CANARY}")',)


def tiny_checkpoint() -> dict[str, Any]:
    """Return what a training saves, with two weights."""
    return {
        'state_dict': {
            'model.backbone.w': torch.arange(6.0).reshape(2, 3),
            'model.b': torch.ones(2),
        },
        'hyper_parameters': {'family': 'hle', 'labels': LABELS.to_dicts(), 'network': {}},
        'optimizer_states': [{'state': {0: {'exp_avg': torch.ones(2)}}, 'param_groups': []}],
        'global_step': 12,
    }


def saved(value: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    torch.save(value, out, **options)
    return out.getvalue()


def rezip(data: bytes, change: Any) -> bytes:
    """Return a zip file with changed entries and right checksums."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, 'w') as new:
        for name in old.namelist():
            for key, content in change(name, old.read(name)):
                new.writestr(key, content)
    return out.getvalue()


def tensors_of(value: Any, found: list[Tensor]) -> list[Tensor]:
    for part in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        tensors_of(part, found)
    if isinstance(value, Tensor):
        found.append(value)
    return found


def make_checkpoint(rng: Random) -> Case:
    value = tiny_checkpoint()
    data, kind = saved(value), rng.random()
    if kind < 0.1:
        return Case({FILE: data}, {'intact': True})
    if kind < 0.4:
        return Case({FILE: mutate.some_bytes(rng, data)}, {'damaged': True})
    if kind < 0.5:
        return Case({FILE: mutate.cut(rng, data)}, {'damaged': True})
    if kind < 0.65:  # values with code in them
        place = rng.choice(('state_dict', 'hyper_parameters', 'callbacks', 'global_step'))
        mark = rng.choice((Mark(), MarkByEval()))
        value[place] = rng.choice((mark, {'x': mark}, [mark]))
        data = saved(value, _use_new_zipfile_serialization=rng.random() < 0.8)
        if rng.random() < 0.3:
            data = pickle.dumps(value['global_step'] if place == 'global_step' else mark)
        return Case({FILE: data})
    if kind < 0.85:  # another pickle inside, or other bytes of weights
        pickled = rng.choice((pickle.dumps(Mark()), pickle.dumps(anything(rng)), b''))

        def change(name: str, content: bytes) -> list[tuple[str, bytes]]:
            if name.endswith('data.pkl'):
                return [(name, pickled or mutate.some_bytes(rng, content))]
            if rng.random() < 0.2:
                odd = rng.choice(('../outside', '/tmp/outside', f'{name}x', 'archive/data.pkl'))
                return [(name, content), (odd, content)]
            return [(name, mutate.some_bytes(rng, content) if rng.random() < 0.2 else content)]

        return Case({FILE: rezip(data, change)})
    for place in rng.sample(('state_dict', 'hyper_parameters', 'optimizer_states'), 2):
        value[place] = anything(rng)
    if rng.random() < 0.3:
        value = anything(rng)
    return Case({FILE: saved(value)})


def anything(rng: Random) -> Any:
    """Return plain values and tensors."""
    tensor = rng.choice(
        (
            torch.tensor([1.0, float('nan')]),
            torch.tensor(float('inf')),
            torch.zeros(0),
            torch.zeros(2, dtype=torch.complex64),
            torch.zeros(3).to_sparse(),
            torch.zeros(2, dtype=torch.bfloat16),
        )
    )
    return rng.choice((mutate.anything(rng), tensor, {'model.b': tensor}, {1: tensor}, [tensor]))


def check_checkpoint(case: Case, folder: Path) -> None:
    checkpoint = read_checkpoint(folder / FILE)
    for tensor in tensors_of(checkpoint['state_dict'], []):
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise Wrong('weights: NaN or infinity was accepted')
    if case.truth.get('damaged') or case.truth.get('intact'):
        original = tiny_checkpoint()['state_dict']
        found = checkpoint['state_dict']
        if set(found) != set(original) or not all(
            torch.equal(found[name], original[name]) for name in found
        ):
            raise Wrong('weights: other than those that were saved')


# Checkpoints of a whole network ----------------------------------------------------------------


@cache
def network() -> dict[str, Any]:
    torch.manual_seed(0)
    config = {**FAMILIES['hle'].small, 'backbone': 'mobilenetv2_035'}
    state = build('hle', LABELS, **config).state_dict()
    return {
        # Constant weights, so that a case is small when it is packed.
        'state_dict': {f'model.{k}': torch.full_like(v, 1) for k, v in state.items()},
        'hyper_parameters': {
            'family': 'hle',
            'labels': LABELS.to_dicts(),
            'network': {k: list(v) if isinstance(v, tuple) else v for k, v in config.items()},
            'input_size': [64, 128],
            'recipe_hash': '',
        },
    }


def make_network(rng: Random) -> Case:
    checkpoint, kind = network(), rng.random()
    state, settings = dict(checkpoint['state_dict']), checkpoint['hyper_parameters']
    truth = {}
    if kind < 0.1:
        truth['intact'] = True
    elif kind < 0.75:
        settings = mutate.value(rng, settings)
    else:
        name = rng.choice(list(state))
        tensor = state.pop(name)
        if rng.random() < 0.7:
            state[rng.choice((name, f'{name}x', 'model.', 'x'))] = rng.choice(
                (tensor[None], tensor.double(), tensor * float('nan'), tensor.to(torch.int8), 7)
            )
    try:
        return Case({FILE: saved({'state_dict': state, 'hyper_parameters': settings})}, truth)
    except (RecursionError, UnicodeError):
        return Case({FILE: b''})


def check_network(case: Case, folder: Path) -> None:
    model, checkpoint = load_checkpoint(folder / FILE)
    state = checkpoint['state_dict']
    for name, value in model.state_dict().items():
        # The mean is normalised after loading; PyTorch does not need the number of batches.
        if name.endswith(('semantic_mean', 'num_batches_tracked')):
            continue
        if not torch.equal(value, state[f'model.{name}'].to(value.dtype)):
            raise Wrong(f'weights: {name} is not that of the file')


# Safetensors -----------------------------------------------------------------------------------


class Small(nn.Module):
    """Network with a backbone of two weights."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(3, 2)


KINDS = ('F32', 'F64', 'F16', 'BF16', 'I64', 'I8', 'U8', 'BOOL', 'F8_E4M3', 'C64', 'x', '')


def safetensors(header: Any, data: bytes, size: int | None = None) -> bytes:
    try:
        text = json.dumps(header).encode()
    except (RecursionError, ValueError):
        text = b'{}'
    return struct.pack('<Q', (len(text) if size is None else size) % 2**64) + text + data


def make_safetensors(rng: Random) -> Case:
    weights = [rng.uniform(-2, 2) for _ in range(8)]
    data = struct.pack('<8f', *weights)
    header: dict[str, Any] = {
        'weight': {'dtype': 'F32', 'shape': [2, 3], 'data_offsets': [0, 24]},
        'bias': {'dtype': 'F32', 'shape': [2], 'data_offsets': [24, 32]},
    }
    if rng.random() < 0.3:
        header['__metadata__'] = {'format': 'pt'}
    kind = rng.random()
    if kind < 0.1:
        return Case({'w.safetensors': safetensors(header, data)}, {'intact': True})
    if kind < 0.2:
        data = struct.pack('<8f', *[*weights[:7], rng.choice((float('nan'), float('inf')))])
    elif kind < 0.35:
        return Case({'w.safetensors': mutate.cut(rng, safetensors(header, data))}, {'cut': True})
    elif kind < 0.5:
        return Case({'w.safetensors': mutate.some_bytes(rng, safetensors(header, data))})
    elif kind < 0.6:
        return Case({'w.safetensors': safetensors(header, data, rng.choice(mutate.NUMBERS))})
    elif kind < 0.7:
        header[rng.choice(('weight', 'bias'))]['dtype'] = rng.choice(KINDS)
    else:
        header = mutate.value(rng, header)
    return Case({'w.safetensors': safetensors(header, data)})


def check_safetensors(case: Case, folder: Path) -> None:
    model, data = Small(), case.files['w.safetensors']
    load_pretrained(model, folder / 'w.safetensors')
    if case.truth.get('cut'):
        raise Wrong('cut: a file that is cut short was accepted')
    (size,) = struct.unpack_from('<Q', data)
    header = json.loads(data[8 : 8 + size])
    for name, value in model.backbone.state_dict().items():
        entry = header[name]
        start, end = entry['data_offsets']
        kind = {'F32': '<f4', 'F64': '<f8', 'F16': '<f2', 'I64': '<i8', 'I8': 'i1', 'U8': 'u1'}
        if entry['dtype'] in kind:
            stored = np.frombuffer(data[8 + size + start : 8 + size + end], kind[entry['dtype']])
            if not np.array_equal(value.numpy().ravel(), stored.astype(np.float32)):
                raise Wrong(f'weights: {name} is not that of the file')
        if not bool(value.isfinite().all()):
            raise Wrong('weights: NaN or infinity was loaded')


TARGETS = (
    Target('checkpoint', make_checkpoint, check_checkpoint),
    Target('checkpoint_model', make_network, check_network),
    Target('safetensors', make_safetensors, check_safetensors),
)
