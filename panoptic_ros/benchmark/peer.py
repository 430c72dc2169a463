# SPDX-License-Identifier: Apache-2.0
"""Comparison of a network's time with that of Hugging Face's Mask2Former (Swin-T).

The peer has random weights, which cost as much time as trained ones, and the configuration of the
checkpoint for COCO; nothing is downloaded. It runs in PyTorch, as its users run it: ONNX Runtime
took 0.95 of that time for the same network. Both networks run on one thread, and processor time
counts, so that other work on the machine changes the ratio little.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from panoptic_ros.benchmark.graph import Network, network_alone
from panoptic_ros.core.model_info import ModelInfo
from panoptic_ros.runtime.load import load

PEER = 'Mask2Former Swin-T (random weights)'

LEAST_ROUNDS = 3
"""Smallest number of images that both networks process."""

SWIN_T: dict[str, Any] = {
    'embed_dim': 96,
    'depths': [2, 2, 6, 2],
    'num_heads': [3, 6, 12, 24],
    'window_size': 7,
    'out_features': ['stage1', 'stage2', 'stage3', 'stage4'],
}
"""Swin-T of Liu et al., Swin Transformer, ICCV 2021."""

CLASSES = 133
"""Number of COCO's panoptic classes."""


class PeerTimes(NamedTuple):
    """Times of both networks on the same images, without decoding."""

    info: ModelInfo

    own_ms: npt.NDArray[np.float64]
    """(rounds,)"""

    peer_ms: npt.NDArray[np.float64]
    """(rounds,)"""

    @property
    def ratio(self) -> float:
        """Median over the rounds of the peer's time by the own one."""
        return float(np.median(self.peer_ms / self.own_ms))


def require_peer() -> None:
    """Raise an ImportError that names the extras if a package of the peer is missing."""
    try:
        import torch
        import transformers
    except ImportError as error:
        raise ImportError(
            f'--peer hf needs torch and transformers ({error}): '
            'pip install "panoptic_ros[train,hf]"'
        ) from None
    del torch, transformers


def time_peer(path: Path, seconds: float) -> PeerTimes:
    """Run both networks in turn on one thread of the CPU.

    Args:
        path: the model file.
        seconds: time to spend; at least LEAST_ROUNDS rounds are made.

    Raises:
        ValueError: if the model file does not name the end of its network.
    """
    predictor = load(path, 'onnxruntime', 'cpu', threads=1)
    own = network_alone(path, predictor.backend, 1)
    if own is None:
        raise ValueError(
            f'--peer compares networks without decoding, and {path} does not name the end of its '
            'network; take a model file of a family that is trained here'
        )
    if predictor.info.batch > 1:
        raise ValueError(
            f'--peer compares networks for one image, and {path} takes {predictor.info.batch} at '
            'once; export it with --batch 1'
        )
    rows, size = list[tuple[float, float]](), predictor.info.input_size
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    with mask2former() as peer:
        _ms(own, image), _ms(peer, image)
        start = time.perf_counter()
        while len(rows) < LEAST_ROUNDS or time.perf_counter() - start < seconds:
            rows.append((_ms(own, image), _ms(peer, image)))
    return PeerTimes(predictor.info, *np.array(rows).T)


@contextmanager
def mask2former() -> Iterator[Network]:
    """Build the peer's network, and give PyTorch one thread while it is in use."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    settings = transformers.Mask2FormerConfig(
        backbone_config=transformers.SwinConfig(image_size=224, **SWIN_T),
        num_queries=100,
        id2label={i: str(i) for i in range(CLASSES)},
    )
    module = transformers.Mask2FormerForUniversalSegmentation(settings).eval()
    before = torch.get_num_threads()
    torch.set_num_threads(1)

    def run(pixels: npt.NDArray[np.uint8]) -> object:
        with torch.inference_mode():
            image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
            return module(image)

    try:
        yield run
    finally:
        torch.set_num_threads(before)


def _ms(network: Network, image: npt.NDArray[np.uint8]) -> float:
    start = time.process_time()
    network(image)
    return 1e3 * (time.process_time() - start)
