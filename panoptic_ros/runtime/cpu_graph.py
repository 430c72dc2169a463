# SPDX-License-Identifier: Apache-2.0
"""A graph's decoding rewritten for the CPU: less arithmetic, in sizes that depend on the image.

Model files compare all rows of the table with all cells, because engines and CUDA graphs need
fixed sizes and operators that TensorRT has. Most rows of most images are empty. A CPU counts each
cell in its own row, and leaves out the rows that have no cells or take no part.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.onnx_edit import (
    constant_values,
    infer_shapes,
    readers_of,
    remove_unused,
    set_nodes,
)
from panoptic_ros.core.reference import MAX_ROWS

FLOAT, INT64 = 1, 7
"""Of onnx.TensorProto."""

KINDS = FLOAT, 6, INT64, 9
"""Types of values that are rewritten: float32, int32, int64 and bool."""

LEAST_OPSET = 18
"""First version of ONNX with all forms of operators that are used here."""


class _Rewriter:
    """New nodes for a graph, each to be placed where the node stands that it replaces."""

    def __init__(self, model: Any) -> None:
        self.graph = model.graph
        inferred = infer_shapes(model)
        self.shapes: dict[str, list[int]] = {}
        """Sizes of values of KINDS by name, where all are known."""
        for value in (*inferred.value_info, *inferred.input, *inferred.output):
            kind = value.type.tensor_type
            sizes = [size.dim_value for size in kind.shape.dim]
            if 0 not in sizes and kind.elem_type in KINDS:
                self.shapes[value.name] = sizes
        self.constants = constant_values(self.graph, MAX_ROWS)  # numbers of rows, axes, rows
        self.readers = readers_of(self.graph)
        self.new: dict[str, list[Any]] = {}
        """By name of the output before which they stand."""
        self._place = ''

    def readers_of(self, node: Any) -> list[Any]:
        """Return the nodes that read a node's first output."""
        return self.readers.get(node.output[0], [])

    def sizes(self, node: Any) -> list[int]:
        """Return the shape of a node's first output; empty if it is not known."""
        return self.shapes.get(node.output[0], [])

    def at(self, node: Any) -> None:
        """Place the next nodes before a node."""
        self._place = node.output[0]

    def constant(self, value: npt.ArrayLike, dtype: type) -> str:
        """Add a constant and return its name."""
        from onnx import numpy_helper

        name = f'cpu_constant_{len(self.graph.initializer)}'
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def add(self, kind: str, *inputs: str, output: str = '', **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        from onnx import helper

        nodes = self.new.setdefault(self._place, [])
        output = output or f'cpu_{self._place}_{len(nodes)}'
        nodes.append(helper.make_node(kind, inputs, [output], name=f'{output}_cpu', **attributes))
        return output

    def finish(self) -> None:
        """Insert the new nodes and remove those that they replace."""
        replaced = {name for nodes in self.new.values() for node in nodes for name in node.output}
        nodes = []
        for node in self.graph.node:
            nodes += self.new.get(node.output[0], []) if node.output else []
            if not replaced.intersection(node.output):
                nodes.append(node)
        set_nodes(self.graph, nodes)
        remove_unused(self.graph)


def rewrite_for_cpu(model: Any) -> bool:
    """Rewrite the decoding of a graph, in place; what is not recognised stays as it is.

    The outputs are the same but for the rounding of sums.

    Args:
        model: an onnx.ModelProto.

    Returns:
        Whether there was something to rewrite.
    """
    opset = next((o.version for o in model.opset_import if o.domain in ('', 'ai.onnx')), 0)
    if opset < LEAST_OPSET:
        return False
    rewriter = _Rewriter(model)
    for node in model.graph.node:
        if node.op_type == 'Equal':
            _scatter_sums(rewriter, node)
        elif node.op_type == 'Where':
            _leave_out_rows(rewriter, node)
        elif node.op_type == 'Softmax':
            _softmax_by_class(rewriter, node)
    if rewriter.new:
        rewriter.finish()
    return bool(rewriter.new)


def _scatter_sums(rewriter: _Rewriter, equal: Any) -> None:
    """Compute sums over the masks of rows without a mask for each row.

    `Equal` compares a map (1, h, w) of row numbers with consecutive numbers (S, 1, 1). Sums of
    the masks over lines or columns become scattered counts. Products of the masks with values of
    the cells remain, with the masks of those rows that have cells.
    """
    sizes = rewriter.shapes.get(equal.input[0], [])
    numbers = rewriter.constants.get(equal.input[1])
    if (
        numbers is None
        or len(sizes) != 3
        or sizes[0] != 1
        or numbers.dtype.kind != 'i'
        or numbers.shape[1:] != (1, 1)
        or (np.diff(numbers, axis=0) != 1).any()
    ):
        return
    rows, first, (height, width) = len(numbers), int(numbers.flat[0]), sizes[1:]
    readers = [r for masks in _casts(rewriter, equal) for r in rewriter.readers_of(masks)]
    counts = [(r, axis) for r in readers if (axis := _summed_axis(rewriter, r)) is not None]
    products = [
        product
        for reader in readers
        if reader.op_type == 'Reshape' and rewriter.sizes(reader) == [rows, height * width]
        for product in rewriter.readers_of(reader)
        if product.op_type == 'MatMul'
        and product.input[0] == reader.output[0]
        and len(rewriter.sizes(product)) == 2
    ]
    if not counts and not products:
        return
    rewriter.at(equal)
    whole, least = rewriter.constant([-1], np.int64), rewriter.constant(0, np.int64)
    wide = rewriter.add('Cast', rewriter.add('Reshape', equal.input[0], whole), to=INT64)
    shifted = rewriter.add('Sub', wide, rewriter.constant(first - 1, np.int64))
    # Rows 0 and S + 1 take the cells of all rows that are not compared.
    index = rewriter.add('Clip', shifted, least, rewriter.constant(rows + 1, np.int64))

    def middle(table: str, output: str) -> None:
        ends = rewriter.constant([1], np.int64), rewriter.constant([rows + 1], np.int64)
        rewriter.add('Slice', table, *ends, rewriter.constant([0], np.int64), output=output)

    line, column = np.divmod(np.arange(height * width), width)
    for node, axis in counts:
        place, size = (column, width) if axis == 1 else (line, height)
        rewriter.at(node)
        start = rewriter.add('Mul', index, rewriter.constant(size, np.int64))
        total = rewriter.add(
            'ScatterElements',
            rewriter.constant(np.zeros((rows + 2) * size), np.float32),
            rewriter.add('Add', start, rewriter.constant(place, np.int64)),
            rewriter.constant(np.ones(height * width), np.float32),
            reduction='add',
        )
        shape = rewriter.constant([rows + 2, size], np.int64)
        middle(rewriter.add('Reshape', total, shape), node.output[0])
    for node in products:
        rewriter.at(node)
        # Only rows with cells are compared. ScatterND, which would need no masks, loses values in
        # ONNX Runtime where several threads add to one row.
        used = rewriter.add(
            'ScatterElements',
            rewriter.constant(np.zeros(rows + 2), np.float32),
            index,
            rewriter.constant(np.ones(height * width), np.float32),
            reduction='max',
        )
        present = rewriter.add('Reshape', rewriter.add('NonZero', used), whole)
        places = rewriter.add('Unsqueeze', present, rewriter.constant([1], np.int64))
        mask = rewriter.add('Cast', rewriter.add('Equal', places, index), to=FLOAT)
        total = rewriter.add(
            'ScatterND',
            rewriter.constant(np.zeros((rows + 2, rewriter.sizes(node)[1])), np.float32),
            places,
            rewriter.add('MatMul', mask, node.input[1]),
        )
        middle(total, node.output[0])


def _casts(rewriter: _Rewriter, node: Any) -> Iterator[Any]:
    """Yield the nodes that turn a node's result into float32."""
    from onnx import helper

    for reader in rewriter.readers_of(node):
        if reader.op_type == 'Cast' and helper.get_node_attr_value(reader, 'to') == FLOAT:
            yield reader


def _summed_axis(rewriter: _Rewriter, node: Any) -> int | None:
    """Return the axis, 1 or 2, along which a ReduceSum adds and which it removes."""
    axes = rewriter.constants.get(node.input[1]) if len(node.input) > 1 else None
    keeps = next((a.i for a in node.attribute if a.name == 'keepdims'), 1)
    if node.op_type != 'ReduceSum' or keeps or axes is None or axes.tolist() not in ([1], [2]):
        return None
    return int(axes[0])


def _leave_out_rows(rewriter: _Rewriter, where: Any) -> None:
    """Compute products of a table's rows once for all rows that `Where` replaces by a constant.

    `Where` chooses between a table (K, D) and a constant row (1, D) by a condition (K, 1). Two
    uses are recognised: the best row for each cell, `ArgMax` and `ReduceMax` of
    `MatMul(cells, transposed table)`; and sums over masks, `MatMul(mask, values)` with
    `mask = MatMul(table, cells) > threshold`.
    """
    condition, table, other = where.input
    sizes = rewriter.sizes(where)
    constant = rewriter.constants.get(other)
    if (
        len(sizes) != 2
        or rewriter.shapes.get(table) != sizes
        or rewriter.shapes.get(condition) != [sizes[0], 1]
        or constant is None
        or constant.shape != (1, sizes[1])
    ):
        return
    for reader in rewriter.readers_of(where):
        if reader.op_type == 'Transpose':
            for product in rewriter.readers_of(reader):
                if product.op_type == 'MatMul' and product.input[1] == reader.output[0]:
                    _match_rows(rewriter, product, where)
        elif reader.op_type == 'MatMul' and reader.input[0] == where.output[0]:
            _sum_masks(rewriter, reader, where)


def _softmax_by_class(rewriter: _Rewriter, softmax: Any) -> None:
    """Compute a softmax over few classes map by map, not cell by cell.

    The softmax is along the last axis of logits (N, C) that were transposed from maps (C, N).
    """
    maker = next((n for n in rewriter.graph.node if softmax.input[0] in n.output), None)
    sizes = rewriter.sizes(softmax)
    axis = next((a.i for a in softmax.attribute if a.name == 'axis'), -1)
    if maker is None or maker.op_type != 'Transpose' or len(sizes) != 2 or axis not in (-1, 1):
        return
    rewriter.at(softmax)
    logits, ones = maker.input[0], rewriter.constant(np.ones((1, sizes[1])), np.float32)
    highest = rewriter.add('ReduceMax', logits, rewriter.constant([0], np.int64))
    powers = rewriter.add('Exp', rewriter.add('Sub', logits, highest))
    psi = rewriter.add('Div', powers, rewriter.add('MatMul', ones, powers))
    rewriter.add('Transpose', psi, output=softmax.output[0], perm=[1, 0])


def _present_rows(rewriter: _Rewriter, where: Any) -> tuple[str, str]:
    """Return the condition (K,), and the rows (n + 1, D) for which it holds and the constant."""
    condition, table, other = where.input
    flat = rewriter.add('Reshape', condition, rewriter.constant([-1], np.int64))
    present = rewriter.add('Compress', table, flat, axis=0)
    return flat, rewriter.add('Concat', present, other, axis=0)


def _match_rows(rewriter: _Rewriter, product: Any, where: Any) -> None:
    """Compare the cells only with the rows that take part."""
    from onnx import helper

    readers = rewriter.readers_of(product)
    if {reader.op_type for reader in readers} != {'ArgMax', 'ReduceMax'}:
        return
    if any(rewriter.sizes(reader) != rewriter.sizes(product)[:1] for reader in readers):
        return
    rewriter.at(product)
    condition, rows = _present_rows(rewriter, where)
    scores = rewriter.add('MatMul', product.input[0], rewriter.add('Transpose', rows, perm=[1, 0]))
    numbers = rewriter.add('NonZero', condition)
    numbers = rewriter.add('Reshape', numbers, rewriter.constant([-1], np.int64))
    numbers = rewriter.add('Concat', numbers, rewriter.constant([0], np.int64), axis=0)
    for reader in readers:
        rewriter.at(reader)
        attributes = {a.name: helper.get_attribute_value(a) for a in reader.attribute}
        if reader.op_type == 'ReduceMax':
            inputs = (scores, *reader.input[1:])
            rewriter.add('ReduceMax', *inputs, output=reader.output[0], **attributes)
        else:
            best = rewriter.add('ArgMax', scores, **attributes)
            rewriter.add('Gather', numbers, best, output=reader.output[0])


def _sum_masks(rewriter: _Rewriter, product: Any, where: Any) -> None:
    """Compute masks and their sums only for the rows that take part."""
    for total, threshold in [
        (total, greater.input[1])
        for greater in rewriter.readers_of(product)
        if greater.op_type == 'Greater' and greater.input[0] == product.output[0]
        for masks in _casts(rewriter, greater)
        for total in rewriter.readers_of(masks)
        if total.op_type == 'MatMul' and total.input[0] == masks.output[0]
    ]:
        rewriter.at(total)
        condition, rows = _present_rows(rewriter, where)
        scores = rewriter.add('MatMul', rows, product.input[1])
        masks = rewriter.add('Cast', rewriter.add('Greater', scores, threshold), to=FLOAT)
        sums = rewriter.add('MatMul', masks, total.input[1])
        # A row that takes part has its place among those that do; the others are like the last.
        count = rewriter.add(
            'CumSum', rewriter.add('Cast', condition, to=INT64), rewriter.constant(0, np.int64)
        )
        place = rewriter.add('Sub', count, rewriter.constant(1, np.int64))
        place = rewriter.add('Where', condition, place, rewriter.constant(-1, np.int64))
        rewriter.add('Gather', sums, place, output=total.output[0], axis=0)
