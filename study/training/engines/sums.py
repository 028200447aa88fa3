"""Sums over kept weights, and inner products: what the sparse engine is fast by.

Activations lie feature by feature, the examples of a batch side by side. A kept weight is then one multiply-add over
contiguous numbers, and so costs two floating-point operations an example whatever its neighbours are: no gather of
single numbers, and no work for pruned weights. A convolution is the same sum at every position of its output, a linear
layer has one position; so two kernels serve both, one for sums (forward, and backward to the inputs through the
transposed weights), one for inner products (backward to the weights). Where few weights are kept, biases and ReLUs
would take as long as sums: `linear` and `linear_gradients` have them on the way. A position is a vector of 16, 32 or
64 numbers, its lanes; in a row of an image it may span several pixels.

Arrays are flat where nothing else is said; offsets and positions count their elements. Costs below are multiply-adds,
k kept weights, p positions. Sums are in a fixed order: results are equal bit for bit on machines with the same vector
instructions.
The layout and the kernels are this project's own. The kernels stay in the file of the code that they call: numba
compiles anew what it has cached when the kernel's own file changes, and then alone.
"""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from study.training.engines.kernels import kernel

LANES = 64
"""The most numbers that one multiply-add spans: four registers of AVX-512 in single precision."""

FEWEST_LANES = 16

SHARING = 256
"""The most numbers of a sum that share a weight: sixteen of those registers, half of all."""

INT = ir.IntType(64)
BYTE = ir.IntType(8)
CONTRACT = ["contract"]


def lanes(length: int) -> tuple[int, ...]:
    """The lanes that divide a length in numbers, at most LANES, as a tuple of one item for each FEWEST_LANES.

    Numba compiles a kernel anew for each length of a tuple, so that vectors have a size that is known to it.
    """
    return (0,) * (math.gcd(length, LANES) // FEWEST_LANES)


def group(lanes: tuple[int, ...], count: int) -> tuple[int, ...]:
    """How many of `count` vectors share a weight, as a tuple of so many items: the fewest passes over the weights."""
    most = SHARING // (len(lanes) * FEWEST_LANES)
    return (0,) * min(range(1, most + 1), key=lambda size: count // size + count % size)


class _Vectors:
    """LLVM code for as many contiguous numbers of flat arrays as there are lanes."""

    def __init__(self, context: Any, builder: ir.IRBuilder, lanes: Any, arrays: dict[Any, Any]) -> None:
        self.builder, self.lanes = builder, lanes.count * FEWEST_LANES
        self._data = {name: make_array(kind)(context, builder, array).data for name, (kind, array) in arrays.items()}
        kinds = (pointer.type.pointee for pointer in self._data.values())
        self.scalar = next(kind for kind in kinds if not isinstance(kind, ir.IntType))
        self.type = ir.VectorType(self.scalar, self.lanes)
        self._align = 4 if isinstance(self.scalar, ir.FloatType) else 8

    def element(self, array: str, index: Any) -> Any:
        """One number; integers as 64 bits."""
        value = self.builder.load(self.builder.gep(self._data[array], [index]))
        return self.builder.sext(value, INT) if isinstance(value.type, ir.IntType) else value

    def load(self, array: str, offset: Any) -> Any:
        """A vector of numbers; bytes become numbers."""
        if self._data[array].type.pointee == BYTE:
            vector = self.builder.load(self._at(array, offset, ir.VectorType(BYTE, self.lanes)))
            vector.align = 1
            return self.builder.uitofp(vector, self.type)
        vector = self.builder.load(self._at(array, offset, self.type))
        vector.align = self._align
        return vector

    def store(self, vector: Any, array: str, offset: Any) -> None:
        self.builder.store(vector, self._at(array, offset, vector.type)).align = self._align

    def spread(self, scalar: Any) -> Any:
        """A vector of one number."""
        undefined = ir.Constant(self.type, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
        firsts = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, undefined, firsts)

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        return self.builder.fadd(self.builder.fmul(a, b, flags=CONTRACT), c, flags=CONTRACT)

    def no_less(self, vector: Any, floor: Any) -> Any:
        """The larger of a vector and a number; NaN stays."""
        floors = self.spread(floor)
        return self.builder.select(self.builder.fcmp_ordered("<=", vector, floors), floors, vector)

    def totals(self, vectors: list[Any]) -> Any:
        """The sums over the lanes of each of the vectors, as one vector: halves are added, from FEWEST_LANES on of all
        vectors together."""
        size = self.lanes
        while size > 1:
            together = 2 if size <= FEWEST_LANES and len(vectors) > 1 else 1
            pairs = [vectors[i : i + together] for i in range(0, len(vectors), together)]
            vectors = [self._add_halves(pair[0], pair[-1], together, size) for pair in pairs]
            size //= 2
        return vectors[0]

    def _add_halves(self, a: Any, b: Any, together: int, size: int) -> Any:
        """Of each `size` lanes of a, and of b where they are taken `together`, the first half plus the second."""
        lanes = range(together * a.type.count)

        def half(number: int) -> Any:
            taken = [lane for lane in lanes if lane % size // (size // 2) == number]
            return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(taken)), taken))

        return self.builder.fadd(half(0), half(1))

    def _at(self, array: str, offset: Any, vectors: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(self._data[array], [offset]), vectors.as_pointer())


def _sums(adding: bool) -> Any:
    @intrinsic
    def sums(
        typing: Any,
        lanes: Any,
        group: Any,
        x: Any,
        positions_x: Any,
        p: Any,
        begin: Any,
        end: Any,
        offsets: Any,
        order: Any,
        values: Any,
        start: Any,
        floor: Any,
        y: Any,
        to: Any,
        positions_y: Any,
    ) -> Any:
        """y[to + positions_y[i]:] = start + the sum over k of values[order[k]] * x[positions_x[i] + offsets[k]:].

        By lanes, for k from begin to end, and as many values of i from p on as `group` has items: weights are read once
        for all. Less than `floor` becomes that. Where `adding`, the start is what y holds, and there is no floor.
        """
        integer, number = types.int64, y.dtype
        signature = types.void(
            lanes,
            group,
            x,
            positions_x,
            integer,
            integer,
            integer,
            offsets,
            order,
            values,
            number,
            number,
            y,
            integer,
            positions_y,
        )

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            _, _, x, positions_x, p, begin, end, offsets, order, values, start, floor, y, to, positions_y = arguments
            kinds = signature.args
            arrays = {"x": (kinds[2], x), "positions_x": (kinds[3], positions_x), "offsets": (kinds[7], offsets)}
            arrays |= {"order": (kinds[8], order), "values": (kinds[9], values), "y": (kinds[12], y)}
            v = _Vectors(context, builder, kinds[0], arrays | {"positions_y": (kinds[14], positions_y)})
            each = [builder.add(p, ir.Constant(INT, i)) for i in range(kinds[1].count)]
            reads = [v.element("positions_x", i) for i in each]
            writes = [builder.add(to, v.element("positions_y", i)) for i in each]
            starts = [v.load("y", at) if adding else v.spread(start) for at in writes]
            totals = [cgutils.alloca_once_value(builder, vector) for vector in starts]
            with cgutils.for_range_slice(builder, begin, end, ir.Constant(INT, 1)) as (k, _):
                weight = v.spread(v.element("values", v.element("order", k)))
                offset = v.element("offsets", k)
                for at, total in zip(reads, totals, strict=True):
                    inputs = v.load("x", builder.add(at, offset))
                    builder.store(v.multiply_add(weight, inputs, builder.load(total)), total)
            for at, total in zip(writes, totals, strict=True):
                vector = builder.load(total)
                v.store(vector if adding else v.no_less(vector, floor), "y", at)
            return context.get_dummy_value()

        return signature, generate

    return sums


def _inner_products(group: int) -> Any:
    @intrinsic
    def inner_products(
        typing: Any,
        lanes: Any,
        x: Any,
        offsets: Any,
        k: Any,
        positions_x: Any,
        y: Any,
        to: Any,
        positions_y: Any,
        products: Any,
    ) -> Any:
        """products[i] = sum over p of x[offsets[i] + positions_x[p]:] * y[to + positions_y[p]:], by lanes.

        For `group` values of i from k on: y is read once for all.
        """
        integer = types.int64
        signature = types.void(lanes, x, offsets, integer, positions_x, y, integer, positions_y, products)

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            _, x, offsets, k, positions_x, y, to, positions_y, products = arguments
            kinds = signature.args
            arrays = {
                "y": (kinds[5], y),
                "x": (kinds[1], x),
                "offsets": (kinds[2], offsets),
                "products": (kinds[8], products),
            }
            arrays |= {"positions_x": (kinds[4], positions_x), "positions_y": (kinds[7], positions_y)}
            v = _Vectors(context, builder, kinds[0], arrays)
            count = builder.extract_value(make_array(kinds[4])(context, builder, positions_x).shape, 0)
            each = [builder.add(k, ir.Constant(INT, i)) for i in range(group)]
            at = [v.element("offsets", i) for i in each]
            zero = ir.Constant(v.type, [0.0] * v.lanes)
            totals = [cgutils.alloca_once_value(builder, zero) for _ in range(group)]
            with cgutils.for_range(builder, count) as loop:
                b = v.load("y", builder.add(to, v.element("positions_y", loop.index)))
                position = v.element("positions_x", loop.index)
                for offset, total in zip(at, totals, strict=True):
                    a = v.load("x", builder.add(offset, position))
                    builder.store(v.multiply_add(a, b, builder.load(total)), total)
            v.store(v.totals([builder.load(total) for total in totals]), "products", k)
            return context.get_dummy_value()

        return signature, generate

    return inner_products


GROUP = 4
"""Inner products that share a vector: at LANES as many as registers of AVX-512 hold."""

_inner_products_of_group, _inner_product = _inner_products(GROUP), _inner_products(1)
_add_sums, _put_sums = _sums(adding=True), _sums(adding=False)
ALONE = (0,)


@kernel
def add_weighted_sums(  # type: ignore[no-untyped-def]
    lanes, group, parts, starts, offsets, order, values, x, positions_x, first, last, y, rows, row_y, positions_y
):
    """For each row r and position p: y[r row_y + positions_y[p]:] += sum of its weights times x, by lanes.

    Weights lie in sections, and a section has `parts` for each of the `rows`: part i of row r in section s has the
    weights values[order[k]] at x[positions_x[p] + offsets[k]:] for k from starts[(s rows + r) parts + i] to the next
    start. Position p takes the parts from first[p] to last[p]. Section by section, so that what they read stays in the
    cache; as many positions as `group` has items share the weights where they take the same. k p.
    """
    count, size, no = len(positions_x), len(group), y.dtype.type(0)
    sections = (len(starts) - 1) // (rows * parts)
    p = 0
    while p < count:
        together = p + size <= count and first[p] == first[p + size - 1] and last[p] == last[p + size - 1]
        for section in range(sections):
            for row in range(rows):
                at, to = (section * rows + row) * parts, np.int64(row) * row_y
                begin, end = starts[at + first[p]], starts[at + last[p]]
                if together:
                    _add_sums(
                        lanes, group, x, positions_x, p, begin, end, offsets, order, values, no, no, y, to, positions_y
                    )
                else:
                    _add_sums(
                        lanes, ALONE, x, positions_x, p, begin, end, offsets, order, values, no, no, y, to, positions_y
                    )
        p += size if together else 1


@kernel
def weight_gradients(lanes, starts, offsets, x, positions_x, dy, row_y, positions_y, gradients):  # type: ignore[no-untyped-def]
    """The derivative in each weight: the inner product of what it reads from x and the derivatives of its row. k p."""
    for row in range(len(starts) - 1):
        to, k = np.int64(row) * row_y, starts[row]
        while k + GROUP <= starts[row + 1]:
            _inner_products_of_group(lanes, x, offsets, k, positions_x, dy, to, positions_y, gradients)
            k += GROUP
        while k < starts[row + 1]:
            _inner_product(lanes, x, offsets, k, positions_x, dy, to, positions_y, gradients)
            k += 1


@kernel
def linear(lanes, group, starts, offsets, order, values, x, positions_x, biases, rectified, y, row_y, positions_y):  # type: ignore[no-untyped-def]
    """For each row r and position p: y[r row_y + positions_y[p]:] = biases[r] + its weights times x, by lanes.

    Where `rectified`, zero if that is negative. Weights as add_weighted_sums has them, in one section of one part; x
    and y may have any shape. k p.
    """
    xs, ys, low = x.reshape(-1), y.reshape(-1), y.dtype.type(0 if rectified else -np.inf)
    count, size, p = len(positions_x), len(group), 0
    while p < count:
        together = p + size <= count
        for row in range(len(biases)):
            begin, end, bias, to = starts[row], starts[row + 1], biases[row], np.int64(row) * row_y
            if together:
                _put_sums(
                    lanes, group, xs, positions_x, p, begin, end, offsets, order, values, bias, low, ys, to, positions_y
                )
            else:
                _put_sums(
                    lanes, ALONE, xs, positions_x, p, begin, end, offsets, order, values, bias, low, ys, to, positions_y
                )
        p += size if together else 1


@kernel
def linear_gradients(lanes, starts, offsets, x, positions_x, y, rectified, dy, row_y, positions_y, gradients, biases):  # type: ignore[no-untyped-def]
    """The derivatives in the weights and the biases of `linear`, from dy in y. Where y is `rectified`, dy becomes zero
    where y is. k p."""
    ys, dys = y.reshape(-1), dy.reshape(-1)
    if rectified:
        for i in range(len(dys)):
            if ys[i] <= 0:
                dys[i] = 0
    _add_up_rows(lanes, dys, row_y, positions_y, biases)
    weight_gradients(lanes, starts, offsets, x.reshape(-1), positions_x, dys, row_y, positions_y, gradients)


@kernel
def add_up(lanes, x, sums):  # type: ignore[no-untyped-def]
    """sums[f] = the sum of x[:, f, :], for x (steps, features, width)."""
    steps, features, width = x.shape
    size = len(lanes) * FEWEST_LANES
    vectors = width // size
    positions = np.empty(steps * vectors, np.int64)
    for p in range(len(positions)):
        positions[p] = p // vectors * features * width + p % vectors * size
    _add_up_rows(lanes, x.reshape(-1), width, positions, sums)


@kernel
def _add_up_rows(lanes, x, row_x, positions_x, sums):  # type: ignore[no-untyped-def]
    """sums[r] = the sum over p of x[r row_x + positions_x[p]:], by lanes: inner products with ones."""
    rows = len(sums)
    ones, at_ones = np.ones(len(lanes) * FEWEST_LANES, x.dtype), np.zeros_like(positions_x)
    offsets, row = row_x * np.arange(rows), 0
    while row + GROUP <= rows:
        _inner_products_of_group(lanes, x, offsets, row, positions_x, ones, 0, at_ones, sums)
        row += GROUP
    while row < rows:
        _inner_product(lanes, x, offsets, row, positions_x, ones, 0, at_ones, sums)
        row += 1
