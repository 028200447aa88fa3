"""Examples laid side by side: bytes of images, an example a row, become bytes of features, a feature a row."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from study.training.engines.kernels import kernel

BYTES = 8
"""Of a word, and so the examples and the features of a block."""

INT, LANE, BYTE = ir.IntType(64), ir.IntType(32), ir.IntType(8)


@intrinsic
def _transpose_block(typing: Any, words: Any, rows: Any, begin: Any, column: Any, x: Any, block: Any) -> Any:
    """Byte j of word (rows[begin + i], column) becomes byte i of word (8 column + j, block) of x, by one shuffle."""
    signature = types.void(words, rows, begin, column, x, block)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        words, rows, begin, column, x, block = arguments
        source, at, target = (
            make_array(kind)(context, builder, array)
            for kind, array in zip([signature.args[i] for i in (0, 1, 4)], (words, rows, x), strict=True)
        )

        def place(array: Any, row: Any, word: Any) -> Any:
            wide = builder.extract_value(array.shape, 1)
            return builder.gep(array.data, [builder.add(builder.mul(row, wide), word)])

        numbers = [ir.Constant(INT, i) for i in range(BYTES)]
        vector = ir.Constant(ir.VectorType(INT, BYTES), ir.Undefined)
        for i, number in enumerate(numbers):
            row = builder.load(builder.gep(at.data, [builder.add(begin, number)]))
            word = builder.load(place(source, row, column))
            vector = builder.insert_element(vector, word, ir.Constant(LANE, i))
        count = BYTES * BYTES
        taken = [BYTES * (k % BYTES) + k // BYTES for k in range(count)]
        whole = builder.bitcast(vector, ir.VectorType(BYTE, count))
        unused = ir.Constant(whole.type, ir.Undefined)
        shuffled = builder.shuffle_vector(whole, unused, ir.Constant(ir.VectorType(LANE, count), taken))
        vector = builder.bitcast(shuffled, ir.VectorType(INT, BYTES))
        first = builder.mul(column, ir.Constant(INT, BYTES))
        for j, number in enumerate(numbers):
            word = builder.extract_element(vector, ir.Constant(LANE, j))
            builder.store(word, place(target, builder.add(first, number), block))
        return context.get_dummy_value()

    return signature, generate


@kernel
def transpose(words, indices, columns, x):  # type: ignore[no-untyped-def]
    """Byte b of row f of x is byte f of the example at indices[b], of 8 features for each of the columns.

    words (n, features / 8) and x (features, width / 8), each 8 bytes as one integer. The last example fills up the last
    8. Costs 8 loads, 8 stores and a shuffle for 64 bytes.
    """
    blocks = (len(indices) + BYTES - 1) // BYTES
    rows = np.empty(BYTES * blocks, indices.dtype)
    for i in range(len(rows)):
        rows[i] = indices[min(i, len(indices) - 1)]
    for block in range(blocks):
        for column in columns:
            _transpose_block(words, rows, BYTES * block, column, x, block)  # type: ignore[call-arg]  # typing is numba's
