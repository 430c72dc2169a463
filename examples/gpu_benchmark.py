# SPDX-License-Identifier: Apache-2.0
"""Times of networks and decoding on an NVIDIA GPU; run it through gpu_benchmark.sh.

Each row of the table is measured in a process of its own, which has a time limit, so that a row
that fails or hangs costs no other row. Device times are those of CUDA events. The floor is the
time that the card needs for the same arithmetic in matrix products or for moving the same bytes,
both measured in the first row, whichever is longer.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

DEADLINE_S = 450.0
"""Time after which no row is begun, and the running one is ended."""

LEAST_S = 5.0
"""Time below which a row is not begun."""

CITY = 'city'
MODELS = {
    CITY: '',
    'hle_r50': 'hle_resnet50_cityscapes',
    'panoptic_deeplab_r50': 'panoptic_deeplab_resnet50_cityscapes',
}
"""Recipe by name in the table: at 1024x2048 with random weights. City is the packaged model."""

CARD = 'card'

DRY_SIZE = (64, 128)
"""Input size of a dry run, px."""


class Row(NamedTuple):
    """Row of the table."""

    name: str
    limit_s: float


ROWS = (
    Row(CARD, 40),
    *(
        Row(f'{model}/cudagraph/{precision}', 60)
        for model in MODELS
        for precision in ('fp32', 'fp16')
    ),
    *(Row(f'{model}/compiled/fp16', 110) for model in ('hle_r50', 'panoptic_deeplab_r50', CITY)),
    Row(f'{CITY}/backend torch/cudagraph', 40),
)
"""The rows that take little time come first."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the rows, and write the table and the JSON file after each of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', nargs='?', type=Path, help='default: $OUT, or this folder')
    parser.add_argument('--dry-run', action='store_true', help='small sizes on the CPU')
    parser.add_argument('--rows', nargs='+', metavar='NAME', choices=[row.name for row in ROWS])
    parser.add_argument('--measure', metavar='NAME', help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.measure:
        print(json.dumps(measure(args.measure, args.dry_run)))
        return 0
    if not args.dry_run and not has_gpu():
        print('no NVIDIA GPU that PyTorch can use; --dry-run tries the script on the CPU')
        return 1
    folder = args.folder or Path(os.environ.get('OUT', '.'))
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row for row in ROWS if not args.rows or row.name in args.rows]
    results: dict[str, Any] = {}
    for name, result in run_rows(rows, args.dry_run):
        results[name] = result
        print(f'{name}: {result.get("error") or "done"} ({result["took_s"]} s)', flush=True)
        write(folder / 'gpu_benchmark.json', json.dumps(results, indent=2))
        write(folder / 'gpu_benchmark.md', table(results, args.dry_run))
    print(table(results, args.dry_run))
    return 0


def has_gpu() -> bool:
    """Return whether PyTorch sees a GPU; asked in a process that releases it again."""
    code = 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else 1)'
    return subprocess.run([sys.executable, '-c', code], check=False).returncode == 0


def run_rows(
    rows: Sequence[Row], dry_run: bool, deadline_s: float = DEADLINE_S
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the result of each row; one that fails or exceeds its time has an `error`."""
    end = time.monotonic() + deadline_s
    for row in rows:
        start = time.monotonic()
        left = min(row.limit_s, end - start)
        if left < LEAST_S:
            yield row.name, {'error': 'not begun: the time was over', 'took_s': 0.0}
            continue
        command = [sys.executable, __file__, '--measure', row.name]
        result = run_row([*command, '--dry-run'] if dry_run else command, left)
        yield row.name, {**result, 'took_s': round(time.monotonic() - start, 1)}


def run_row(command: Sequence[str], limit_s: float) -> dict[str, Any]:
    """Run a process, and return the JSON object in the last line of its output."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        try:
            out, err = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with the processes that compile for it
            return {'error': f'ended after {limit_s:.0f} s'}
    try:
        found = json.loads(out.strip().splitlines()[-1])
    except (IndexError, ValueError):
        lines = (err.strip() or f'exit status {process.returncode}').splitlines()
        return {'error': lines[-1][:300]}
    return found if isinstance(found, dict) else {'error': f'printed {str(found)[:100]}'}


def write(path: Path, text: str) -> None:
    """Write a file under another name and rename it."""
    temporary = path.with_name(f'.{path.name}')
    temporary.write_text(f'{text}\n')
    temporary.replace(path)


def table(results: dict[str, Any], dry_run: bool) -> str:
    """Return the results as a table in Markdown; what was not measured is empty."""
    card = results.get(CARD, {})
    title = f'{card.get("gpu", "unknown GPU")}, PyTorch {card.get("torch", "unknown")}'
    lines = [f'DRY RUN on the CPU, no measurement ({title})' if dry_run else title]
    if 'bandwidth_gb_s' in card:
        lines.append(
            f'{card["bandwidth_gb_s"]:.0f} GB/s copied; matrix products at '
            f'{card["fp32_tflops"]:.1f} TFLOP/s (TF32) and {card["fp16_tflops"]:.1f} (float16)'
        )
    lines += [
        '',
        '| row | input | network, ms | floor | decoding, ms | floor | end to end, ms | note |',
        '|---|---|---|---|---|---|---|---|',
    ]
    for name, row in results.items():
        if name != CARD:
            cells = [
                name,
                row.get('input', ''),
                number(row.get('network_ms')),
                number(floor_ms(card, row, 'network')),
                number(row.get('decode_ms')),
                number(floor_ms(card, row, 'decode')),
                number(row.get('total_ms')),
                row.get('error', '').replace('|', '/'),
            ]
            lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines)


def number(value: float | None) -> str:
    """Return a time with two digits; empty if there is none."""
    return '' if value is None else f'{value:.2f}'


def floor_ms(card: dict[str, Any], row: dict[str, Any], part: str) -> float | None:
    """Return the time that the card needs at least for a part of a row."""
    if 'bandwidth_gb_s' not in card or f'{part}_bytes' not in row:
        return None
    arithmetic = row.get(f'{part}_flops', 0) / card[f'{row["precision"]}_tflops'] / 1e9
    return max(arithmetic, row[f'{part}_bytes'] / card['bandwidth_gb_s'] / 1e6)


# One row, in a process of its own ---------------------------------------------------------------


def measure(name: str, dry_run: bool) -> dict[str, Any]:
    """Measure one row."""
    if name == CARD:
        return measure_card(dry_run)
    model, mode, precision = name.split('/', 2)
    if mode == 'backend torch':
        return measure_backend(f'torch/{precision}', dry_run)
    return measure_model(model, mode, precision, dry_run)


def device_of(dry_run: bool) -> str:
    """Return the device that is measured."""
    return 'cpu' if dry_run else 'cuda'


def measure_card(dry_run: bool) -> dict[str, Any]:
    """Measure the card's bandwidth and its speed in matrix products."""
    import torch

    device, size = device_of(dry_run), 64 if dry_run else 8192
    torch.backends.cuda.matmul.allow_tf32 = True  # as PyTorch's convolutions do by default
    result = {
        'gpu': 'the CPU' if dry_run else torch.cuda.get_device_name(),
        'torch': torch.__version__,
        'cuda': torch.version.cuda,
    }
    for key, dtype in (('fp32', torch.float32), ('fp16', torch.float16)):
        a = torch.randn(size, size, device=device).to(dtype)
        ms = device_ms(lambda a=a: a @ a, dry_run)
        result[f'{key}_tflops'] = 2 * size**3 / ms / 1e9
    source = torch.empty(size * size * 4, device=device)
    target = torch.empty_like(source)
    ms = device_ms(lambda: target.copy_(source), dry_run)
    result['bandwidth_gb_s'] = 2 * source.numel() * 4 / ms / 1e6
    return result


def device_ms(run: Callable[[], Any], dry_run: bool) -> float:
    """Return the median time of a call on the device, ms."""
    import torch

    times, count = [], 2 if dry_run else 30
    for _ in range(1 if dry_run else 5):
        run()
    for _ in range(count):
        if dry_run:
            start = time.perf_counter()
            run()
            times.append(1e3 * (time.perf_counter() - start))
        else:
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            run()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end))
    return float(sorted(times)[count // 2])


def open_model(name: str, dry_run: bool) -> tuple[Any, tuple[int, int]]:
    """Return a module on the device, and its input size."""
    from panoptic_ros.cli.export import build_untrained, load_model
    from panoptic_ros.core.resources import default_model

    if name == CITY:
        model, info = load_model(default_model())
        size = info.input_size
    else:
        model, size = build_untrained(MODELS[name])
    return model.eval().to(device_of(dry_run)), DRY_SIZE if dry_run else size


def measure_model(name: str, mode: str, precision: str, dry_run: bool) -> dict[str, Any]:
    """Measure network and decoding apart, and both with the copies from and to the host."""
    import torch
    from torch.utils._pytree import tree_leaves, tree_map

    from panoptic_ros.runtime.torch_backend import capture_graph

    model, size = open_model(name, dry_run)
    device, half = device_of(dry_run), precision == 'fp16'
    model.to(memory_format=torch.channels_last)  # which the camera's (H, W, 3) already is
    torch.backends.cudnn.benchmark = True
    thresholds = model.default_thresholds()
    host = torch.randint(0, 256, (*size, 3), dtype=torch.uint8)
    image = host.to(device)

    def network(pixels: torch.Tensor) -> Any:
        with torch.autocast(device, torch.float16, enabled=half):
            maps = model.maps(model.to_batch(pixels))
        return tree_map(lambda m: m.float() if isinstance(m, torch.Tensor) else m, maps)

    def decode(maps: Any) -> Any:
        return model.decode(maps, **thresholds)

    with torch.no_grad(), counted_work(half) as work:  # inference mode hides the operations
        network(image)
    with torch.inference_mode():
        maps = network(image)
        outputs = decode(maps)
        moved = [t for t in tree_leaves((maps, outputs)) if isinstance(t, torch.Tensor)]
        if mode == 'compiled':
            backend = 'eager' if dry_run else 'inductor'
            network, decode = (torch.compile(part, backend=backend) for part in (network, decode))
        if dry_run or mode == 'compiled':
            run_network, run_decode = (lambda: network(image)), (lambda: decode(maps))

            def total() -> None:
                for output in decode(network(host.to(device))):
                    output.cpu()
        else:
            run_network, maps = capture_graph(lambda: network(image), device)
            run_decode, outputs = capture_graph(lambda: decode(maps), device)

            def total() -> None:
                image.copy_(host)
                run_network()
                run_decode()
                for output in outputs:
                    output.cpu()

        result = {
            'input': f'{size[0]}x{size[1]}',
            'precision': precision,
            'network_ms': device_ms(run_network, dry_run),
            'network_flops': work['flops'],
            'network_bytes': work['bytes'],
            'decode_ms': device_ms(run_decode, dry_run),
            'decode_bytes': sum(t.numel() * t.element_size() for t in moved),
            'total_ms': host_ms(total, dry_run),
        }
    if not dry_run:
        result['peak_memory_bytes'] = torch.cuda.max_memory_allocated()
    return result


def host_ms(run: Callable[[], Any], dry_run: bool) -> float:
    """Return the median time of a call that ends with copies to the host, ms."""
    times = []
    for _ in range(2 if dry_run else 35):
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    times = sorted(times if dry_run else times[5:])
    return times[len(times) // 2]


@contextmanager
def counted_work(half: bool) -> Iterator[dict[str, int]]:
    """Count the arithmetic of a network, and the bytes that its matrix operations move.

    Each convolution and matrix product reads its inputs and writes its output once; all else can
    be merged into them.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import FlopCounterMode

    work = {'flops': 0, 'bytes': 0}
    size = 2 if half else 4

    class Counter(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            out = func(*args, **(kwargs or {}))
            if func._schema.name in ('aten::convolution', 'aten::mm', 'aten::addmm', 'aten::bmm'):
                tensors = [t for t in (*args, out) if isinstance(t, torch.Tensor)]
                work['bytes'] += size * sum(t.numel() for t in tensors)
            return out

    flops = FlopCounterMode(display=False)
    with flops, Counter():
        yield work
    work['flops'] = flops.get_total_flops()


def measure_backend(name: str, dry_run: bool) -> dict[str, Any]:
    """Measure the packaged model as the node runs it, with its self-check."""
    import numpy as np

    import panoptic_ros

    model = panoptic_ros.load(None, 'torch/eager' if dry_run else name, device_of(dry_run))
    height, width = model.info.input_size
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    thresholds = {key: value.default for key, value in model.info.thresholds.items()}
    ms = host_ms(lambda: model.backend.run(image, thresholds), dry_run)
    return {'input': f'{height}x{width}', 'precision': model.backend.precision, 'total_ms': ms}


if __name__ == '__main__':
    sys.exit(main())
