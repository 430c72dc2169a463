# SPDX-License-Identifier: Apache-2.0
"""Label files: COCO's panoptic JSON, folders with class files, and PNGs of ids.

The slow readers decode PNGs by the standard and look each pixel up by itself.
"""

import io
import json
import struct
import zlib
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import yaml
from PIL import Image

from fuzz import mutate
from fuzz.case import Case, Target, Wrong
from fuzz.targets.images import with_checksums
from fuzz.targets.yaml_files import as_truth, dump
from fuzz.targets.yaml_files import load as load_yaml
from panoptic_ros.core.id_png import read_png
from panoptic_ros.core.labels import VOID_ID
from panoptic_training.data.files import read_id_map
from panoptic_training.data.registry import open_reader

SIZE = (6, 8)
SIGNATURE = b'\x89PNG\r\n\x1a\n'


class BadPngError(Wrong):
    """A PNG that breaks the standard; that it was accepted is a finding."""

    def __init__(self, fault: str) -> None:
        super().__init__(f'PNG: it breaks the standard ({fault}) and was accepted')


# PNG by the standard ---------------------------------------------------------------------------


def slow_png(data: bytes) -> tuple[np.ndarray, int, int]:
    """Decode a PNG without interlacing, and check each checksum.

    Returns:
        (H, W, channels) of the stored values, bits per value, and the type of colour.

    Raises:
        BadPngError: for any fault.
    """
    if not data.startswith(SIGNATURE):
        raise BadPngError('signature')
    place, packed, header, kind = 8, b'', b'', b''
    while kind != b'IEND':
        if place + 12 > len(data):
            raise BadPngError('cut')
        size, kind = struct.unpack_from('>I4s', data, place)
        body = data[place + 8 : place + 8 + size]
        check = data[place + 8 + size : place + 12 + size]
        if len(check) < 4 or zlib.crc32(kind + body) != int.from_bytes(check, 'big'):
            raise BadPngError('checksum')
        if kind == b'IHDR':
            header = body
        elif kind == b'IDAT':
            packed += body
        place += 12 + size
    if len(header) != 13:
        raise BadPngError('header')
    width, height, bits, colour, packing, filtering, interlace = struct.unpack('>IIBBBBB', header)
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour)
    if channels is None or bits not in (1, 2, 4, 8, 16) or packing or filtering or interlace:
        raise BadPngError('kind')
    if not 0 < width * height < 100_000:
        raise BadPngError('size')
    row, step = -(-width * channels * bits // 8), max(1, channels * bits // 8)
    try:
        unpacker = zlib.decompressobj()
        raw = unpacker.decompress(packed, height * (row + 1))
    except zlib.error as error:
        raise BadPngError(str(error)) from None
    if len(raw) != height * (row + 1):
        raise BadPngError('data')
    above, rows = bytearray(row), []
    for y in range(height):
        line = bytearray(raw[y * (row + 1) + 1 : (y + 1) * (row + 1)])
        for x in range(row):
            left = line[x - step] if x >= step else 0
            corner = above[x - step] if x >= step else 0
            line[x] = (line[x] + predict(raw[y * (row + 1)], left, above[x], corner)) % 256
        rows.append(line)
        above = line
    values = [[unpack(line, i, bits) for i in range(width * channels)] for line in rows]
    return np.array(values).reshape(height, width, channels), bits, colour


def predict(kind: int, left: int, above: int, corner: int) -> int:
    if kind > 4:
        raise BadPngError('filter')
    guess = left + above - corner
    paeth = min((left, above, corner), key=lambda value: abs(guess - value))
    return (0, left, above, (left + above) // 2, paeth)[kind]


def unpack(line: bytes, index: int, bits: int) -> int:
    if bits == 16:
        return line[2 * index] << 8 | line[2 * index + 1]
    place = index * bits
    return line[place // 8] >> (8 - bits - place % 8) & (1 << bits) - 1


def slow_ids(data: bytes) -> np.ndarray:
    """Return the ids (H, W) of a PNG: grey or palette values, or R + 256 G + 65536 B."""
    values, _, colour = slow_png(data)
    if colour in (2, 6):
        return values[..., 0] + 256 * values[..., 1] + 65536 * values[..., 2]
    return values[..., 0]


def png_bytes(ids: np.ndarray, rng: Random) -> bytes:
    """Return a PNG of ids, in one of the kinds that hold them."""
    out = io.BytesIO()
    if ids.max(initial=0) < 256 and rng.random() < 0.3:
        image = Image.fromarray(ids.astype(np.uint8))
        if rng.random() < 0.5:
            image.putpalette([value * 7 % 256 for value in range(768)])
    elif ids.max(initial=0) < 65536 and rng.random() < 0.3:
        image = Image.fromarray(ids.astype(np.uint16))
    else:
        image = Image.fromarray(rgb(ids))
        if rng.random() < 0.2:
            image.putalpha(rng.choice((0, 255)))
    image.save(out, 'png', optimize=rng.random() < 0.5)
    return out.getvalue()


def rgb(ids: np.ndarray) -> np.ndarray:
    return np.stack([ids & 255, ids >> 8 & 255, ids >> 16 & 255], axis=2).astype(np.uint8)


def harm_png(rng: Random, data: bytes) -> bytes:
    """Return a PNG after an accident, or with wrong values and right checksums."""
    kind = rng.random()
    if kind < 0.3:
        return mutate.cut(rng, data)
    if kind < 0.4:  # rows are missing, and nothing else is wrong
        raw = zlib.decompress(b''.join(chunk for name, chunk in chunks(data) if name == b'IDAT'))
        raw = raw[: rng.randrange(len(raw))]
        return join_chunks(
            (name, zlib.compress(raw) if name == b'IDAT' else chunk)
            for name, chunk in chunks(data)
        )
    changed = mutate.some_bytes(rng, data)
    return with_checksums(changed) if rng.random() < 0.5 else changed


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, place = [], 8
    while place + 12 <= len(data):
        size, name = struct.unpack_from('>I4s', data, place)
        found.append((name, data[place + 8 : place + 8 + size]))
        place += 12 + size
    return found


def join_chunks(parts: Any) -> bytes:
    return SIGNATURE + b''.join(
        struct.pack('>I', len(body)) + name + body + struct.pack('>I', zlib.crc32(name + body))
        for name, body in parts
    )


def make_png(rng: Random) -> Case:
    ids = np.array([rng.choice((0, 1, 5, 255, 256, 70000, 2**24 - 1)) for _ in range(48)])
    if rng.random() < 0.5:
        ids %= 256
    data = png_bytes(ids.reshape(SIZE), rng)
    if rng.random() < 0.15:
        return Case({'ids.png': data}, {'intact': True, 'ids': ids.tolist()})
    return Case({'ids.png': harm_png(rng, data)}, {'ids': ids.tolist()})


def check_png(case: Case, folder: Path) -> None:
    data, refusals = case.files['ids.png'], []
    for name, read in (
        ('read_id_map', read_id_map),
        ('read_png', lambda path: read_png(path, str(path))),
    ):
        try:
            ids = read(folder / 'ids.png')
        except ValueError as error:
            refusals.append(error)
            continue
        if ids.ravel().tolist() == case.truth.get('ids'):  # the damage is elsewhere
            continue
        try:
            expected = slow_ids(data)
        except BadPngError as error:
            raise Wrong(f'{name} accepted: {error}') from None
        if ids.shape != expected.shape or not np.array_equal(ids, expected):
            raise Wrong(f'{name} ids: other than those in the PNG')
    if len(refusals) == 2 or (refusals and not case.truth.get('intact')):
        raise refusals[0]


# COCO ------------------------------------------------------------------------------------------


def coco_document(rng: Random) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return a valid document and its maps of segment ids by file name."""
    categories = [
        {'id': 7, 'name': 'road', 'isthing': 0, 'color': [128, 64, 128]},
        {'id': 24, 'name': 'person', 'isthing': 1, 'color': [220, 20, 60]},
        {'id': 26, 'name': 'car', 'isthing': 1, 'color': [0, 0, 142]},
    ]
    images, annotations, maps = [], [], {}
    for number in range(rng.choice((1, 2))):
        found = rng.sample((1, 2, 3, 300, 70000), rng.choice((1, 2, 3)))
        ids = np.array([rng.choice((0, *found)) for _ in range(SIZE[0] * SIZE[1])])
        ids[: len(found)] = found
        image_id: int | str = rng.choice((100 + number, f'frame_{number}'))
        images.append({'id': image_id, 'file_name': f'{number}.png', 'height': 6, 'width': 8})
        annotations.append(
            {
                'image_id': image_id,
                'file_name': f'{number}.png',
                'segments_info': [
                    {'id': i, 'category_id': rng.choice((7, 24, 26)), 'iscrowd': 0, 'area': 1}
                    for i in found
                ],
            }
        )
        if rng.random() < 0.2:
            annotations[-1]['segments_info'][0]['iscrowd'] = 1
        maps[f'{number}.png'] = ids.reshape(SIZE)
    return {'images': images, 'annotations': annotations, 'categories': categories}, maps


def outlines(rng: Random, document: dict[str, Any]) -> dict[str, Any]:
    """Return instance annotations of the same images."""
    return {
        'annotations': [
            {
                'id': i,
                'image_id': image['id'],
                'category_id': 26,
                'iscrowd': i % 2,
                'segmentation': {'counts': [10, 20, 18], 'size': [6, 8]}
                if i % 2
                else [[0, 0, 5, 0, 5, 4, 0, 4]],
            }
            for i, image in enumerate(document['images'] * 2)
        ],
        'categories': [],
    }


def make_coco(rng: Random) -> Case:
    document, maps = coco_document(rng)
    files = {f'val/{name}': png_bytes(ids % 251, rng) for name, ids in maps.items()}
    for name, ids in maps.items():
        out = io.BytesIO()
        Image.fromarray(rgb(ids)).save(out, 'png')
        files[f'panoptic_val/{name}'] = out.getvalue()
    truth: dict[str, Any] = {'hidden': rng.random() < 0.2}
    more = outlines(rng, document)
    kind, links = rng.random(), {}
    if kind < 0.1:
        truth['intact'] = True
    elif kind < 0.6:
        document = mutate.value(rng, document)
    elif kind < 0.7:
        name = rng.choice([name for name in files if name.startswith('panoptic')])
        files[name] = harm_png(rng, files[name])
    elif kind < 0.75:
        truth['hidden'], more = True, mutate.value(rng, more)
    elif kind < 0.8:
        name = rng.choice(list(files))
        del files[name]
        links[name] = rng.choice(('/dev/zero', '.', Path(name).name, '../val.json', '/nothing'))
    text = to_json(document)
    if kind > 0.8:
        text = mutate.some_bytes(rng, text)
    files['val.json'], files['instances_val.json'] = text, to_json(more)
    return Case(files, truth, links)


def to_json(document: Any) -> bytes:
    try:
        return json.dumps(document).encode('utf-8', 'surrogatepass')
    except (RecursionError, ValueError):  # ValueError: a number of too many digits
        return b'{}'


def check_coco(case: Case, folder: Path) -> None:
    options = {'hidden': True} if case.truth['hidden'] else {}
    reader = open_reader(f'coco:{folder}', 'val', **options)
    document = json.loads(case.files['val.json'].decode('utf-8-sig'))
    kinds = [
        (entry['name'].strip(), as_truth(entry['isthing'])) for entry in document['categories']
    ]
    if [(label.name, label.is_thing) for label in reader.labels.labels] != kinds:
        raise Wrong(f'classes: {reader.labels.labels}')
    class_of = {int(entry['id']): i for i, entry in enumerate(document['categories'])}
    if len(reader) != len(document['annotations']):
        raise Wrong(f'length: {len(reader)} of {len(document["annotations"])}')
    for index in range(len(reader)):
        sample = reader.read(index, 0)
        entry = document['annotations'][index]
        listed = [i for i in document['images'] if same_id(i['id'], entry['image_id'])]
        if len(listed) != 1 or not same_id(reader.image_ids[index], entry['image_id']):
            raise Wrong(f'image: {entry["image_id"]} is listed {len(listed)} times')
        inside = (folder / 'panoptic_val' / entry['file_name'].replace('\\', '/')).resolve()
        if not case.links and folder.resolve() not in inside.parents:
            raise Wrong(f'path: {entry["file_name"]} leads out of the folder')
        ids = slow_ids(inside.read_bytes())
        info = {int(segment['id']): segment for segment in entry['segments_info']}
        compare(sample, ids, info, class_of, reader.labels.is_thing)


def same_id(one: Any, other: Any) -> bool:
    return str(number_of(one)) == str(number_of(other))


def number_of(value: Any) -> Any:
    return int(value) if isinstance(value, float) else value


def compare(
    sample: Any, ids: np.ndarray, info: dict[int, Any], class_of: dict[int, int], is_thing: Any
) -> None:
    """Raise Wrong unless class and instance of each pixel are those of its segment."""
    if sample.class_map.shape != ids.shape:
        raise Wrong(f'shape: {sample.class_map.shape} of {ids.shape}')
    instance_of: dict[int, int] = {}
    for id_, class_id, instance in zip(
        ids.ravel().tolist(),
        sample.class_map.ravel().tolist(),
        sample.instance_map.ravel().tolist(),
        strict=True,
    ):
        expected = VOID_ID if id_ == 0 else class_of[int(info[id_]['category_id'])]
        if class_id != expected:
            raise Wrong(f'class: segment {id_} has the class {class_id}, expected {expected}')
        crowd = id_ == 0 or as_truth(info[id_].get('iscrowd') or 0)
        if bool(instance) != bool(expected != VOID_ID and is_thing[expected] and not crowd):
            raise Wrong(f'instance: segment {id_} has the instance {instance}')
        if instance_of.setdefault(id_, instance) != instance:
            raise Wrong(f'instance: segment {id_} has several')
    counted = [instance for instance in instance_of.values() if instance]
    if len(set(counted)) != len(counted):
        raise Wrong('instance: two segments have the same')


# Folders with a class file ---------------------------------------------------------------------

DIVISOR = 100


def make_folder(rng: Random) -> Case:
    classes = {
        'divisor': DIVISOR,
        'classes': [
            {'id': 1, 'name': 'road', 'kind': 'stuff'},
            {'id': 2, 'name': 'car', 'kind': 'thing'},
            {'id': 5, 'name': 'person', 'kind': 'thing'},
        ],
        'ignore': [255],
    }
    choice = (0, 100, 200, 201, 202, 255, 500, 501)
    ids = np.array([rng.choice(choice) for _ in range(SIZE[0] * SIZE[1])]).reshape(SIZE)
    kind, links, truth = rng.random(), {}, {}
    if kind < 0.1:
        truth['intact'] = True
    elif kind < 0.3:
        ids[rng.randrange(6), rng.randrange(8)] = rng.choice(
            (101, 300, 999, 65535, 2**24 - 1, 599)
        )
    elif kind < 0.6:
        classes = mutate.value(rng, classes)
    picture = Image.fromarray(np.frombuffer(rng.randbytes(144), np.uint8).reshape(*SIZE, 3))
    out = io.BytesIO()
    picture.save(out, rng.choice(('png', 'jpeg', 'bmp')))
    files = {'images/val/a.png': out.getvalue(), 'labels/val/a.png': png_bytes(ids, rng)}
    if kind > 0.9:
        files['labels/val/a.png'] = harm_png(rng, files['labels/val/a.png'])
    elif kind > 0.8:
        files['images/val/a.png'] = mutate.some_bytes(rng, files['images/val/a.png'])
    elif kind > 0.75:
        name = rng.choice(list(files))
        del files[name]
        links[name] = rng.choice(('/dev/zero', '.', 'a.png', '/nothing', '../../classes.yaml'))
    try:
        files['classes.yaml'] = dump(classes).encode()
    except (RecursionError, yaml.YAMLError):
        files['classes.yaml'] = b'{}'
    if 0.6 < kind < 0.75:
        files['classes.yaml'] = mutate.yaml_text(rng, files['classes.yaml'].decode())
    return Case(files, truth, links)


def check_folder(case: Case, folder: Path) -> None:
    reader = open_reader(f'folder:{folder}', 'val')
    document = load_yaml(case.files['classes.yaml'].decode('utf-8-sig'))
    for index in range(len(reader)):
        sample = reader.read(index, 0)
        if 'classes' not in document or case.links:
            continue
        ids = slow_ids(case.files['labels/val/a.png'])
        divisor = document.get('divisor', 1000)
        ignore = document.get('ignore', [])
        ignore = ignore if isinstance(ignore, list) else [ignore]
        class_of = {entry['id']: i for i, entry in enumerate(document['classes'])}
        if 0 not in class_of:
            ignore = [*ignore, 0]
        # Ids that are ignored become 0, which is void; a crowd has no instance number.
        ids = np.where(np.isin(ids, ignore), 0, ids + 1)
        info = {
            i: {'category_id': (i - 1) // divisor, 'iscrowd': (i - 1) % divisor == 0}
            for i in np.unique(ids).tolist()
            if i
        }
        compare(sample, ids, info, class_of, reader.labels.is_thing)


TARGETS = (
    Target('coco', make_coco, check_coco),
    Target('folder', make_folder, check_folder),
    Target('id_png', make_png, check_png),
)
