"""Asking the processor for memory that will be read soon, from compiled code: most rows of items miss its caches."""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba.extending import intrinsic

LINE = 64
"""Bytes that one request brings."""


@intrinsic
def prefetch(typing: Any, table: Any, row: Any, column: Any) -> Any:
    """Ask for the line that holds `table[row, column]`, without waiting for it. It changes nothing but the time taken.

    See LLVM's `llvm.prefetch`, https://llvm.org/docs/LangRef.html#llvm-prefetch-intrinsic.
    """

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, values[0])
        long, word, pointer = ir.IntType(64), ir.IntType(32), ir.IntType(8).as_pointer()
        address = builder.ptrtoint(array.data, long)
        for axis, value in enumerate(values[1:]):
            address = builder.add(address, builder.mul(builder.extract_value(array.strides, axis), value))
        ask = builder.module.declare_intrinsic(
            "llvm.prefetch", (pointer,), ir.FunctionType(ir.VoidType(), [pointer, word, word, word])
        )
        to_read, soon_again, data = (ir.Constant(word, flag) for flag in (0, 3, 1))
        builder.call(ask, [builder.inttoptr(address, pointer), to_read, soon_again, data])
        return context.get_dummy_value()

    return numba.types.void(table, numba.types.int64, numba.types.int64), generate
