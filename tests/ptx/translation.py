"""Each instruction to a function that carries it out, for the lanes that are active, on a `interpreter.State`."""

from __future__ import annotations

import numpy as np

from ptx import arithmetic
from ptx.memory import Fault
from ptx.parsing import bits_of, number_of, place, vector

CONTROL = {"bra", "ret", "bar"}  # which `interpreter.State` carries out

_INTEGERS = {
    "add": np.add,
    "sub": np.subtract,
    "div": arithmetic.divide,
    "rem": arithmetic.remainder,
    "min": np.minimum,
    "max": np.maximum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "not": np.invert,
    "neg": np.negative,
}
_FLOATS = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "fma": arithmetic.fma32}
_EXACT_FLOATS = {"min": np.fmin, "max": np.fmax, "abs": np.abs}
_PRODUCTS = {"lo": np.multiply, "hi": arithmetic.multiply_high, "wide": arithmetic.multiply_wide}
_COMPARISONS = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}
_FLOAT_COMPARISONS = _COMPARISONS | {  # with NaN, only `nan` holds
    "ne": lambda a, b: (a < b) | (a > b),
    "nan": lambda a, b: np.isnan(a) | np.isnan(b),
}
_NARROWINGS = {"bf16": arithmetic.bf16_bits, "f16": arithmetic.fp16_bits}
_WIDENINGS = {"bf16": arithmetic.from_bf16_bits, "f16": arithmetic.from_fp16_bits}


class Translator:
    """Knows a module's registers and names; `translate` makes a function of an instruction."""

    def __init__(self, module):
        self._module = module
        self._slots = {name: slot for slot, name in enumerate(module.registers)}
        self._dtypes = list(module.registers.values())

    def slot(self, register):
        return self._slots[register]

    def translate(self, instruction):
        """A function of the state, or None for what the state does by itself."""
        operation, operands = instruction.operation, instruction.operands
        if operation[0] in CONTROL:
            return None
        make = getattr(self, f"_{operation[0]}", None) or self._calculate
        try:
            function = make(operation, operands)
        except (KeyError, ValueError, IndexError, AttributeError, TypeError):
            function = None
        if function is None:
            raise Fault(f"unknown instruction: {instruction.text}")
        return function

    # --- operands

    def _source(self, operand, dtype):
        """A function that gives the operand's values for the active lanes, one alone if they are all the same."""
        dtype = np.dtype(dtype)
        if operand in self._slots:
            slot, own = self._slots[operand], self._dtypes[self._slots[operand]]
            if own == dtype:
                return lambda state: state.read(slot)
            if own.itemsize == dtype.itemsize:
                return lambda state: state.read(slot).view(dtype)
            return lambda state: state.read(slot).astype(f"u{dtype.itemsize}").view(dtype)  # the low part
        if operand.startswith("%"):
            return lambda state: state.active(state.special[operand]).astype(f"u{dtype.itemsize}").view(dtype)
        constant = self._constant(operand, dtype)
        return lambda _: constant

    def _constant(self, operand, dtype):
        if operand[:2] in ("0f", "0F"):
            return np.array([int(operand[2:], 16)], np.uint32).view(dtype)
        if operand[:2] in ("0d", "0D"):
            return np.array([int(operand[2:], 16)], np.uint64).view(dtype)
        number = self._module.symbols[operand] if operand in self._module.symbols else int(operand.rstrip("U"), 0)
        if dtype == np.bool_:
            return np.array([number != 0])
        return np.array([number & ((1 << 8 * dtype.itemsize) - 1)], f"u{dtype.itemsize}").view(dtype)

    def _target(self, operand):
        """A function that writes values to a register."""
        if operand == "_":
            return lambda *_: None
        slot = self._slots[operand]
        own = self._dtypes[slot]

        def write(state, values):
            if values.dtype != own:
                if values.dtype.itemsize != own.itemsize:  # narrow values in a wide register keep their sign
                    values = values.astype(f"{values.dtype.kind}{own.itemsize}")
                values = values.view(own)
            state.write(slot, values)

        return write

    def _apply(self, function, target, sources, dtypes):
        write = self._target(target)
        read = [self._source(source, dtype) for source, dtype in zip(sources, dtypes, strict=True)]
        if len(read) == 2:  # most instructions, without a list
            first, second = read
            return lambda state: write(state, function(first(state), second(state)))
        return lambda state: write(state, function(*[get(state) for get in read]))

    # --- arithmetic

    def _calculate(self, operation, operands):
        """Whatever works on numbers of one dtype."""
        name, modifiers, kind = operation[0], operation[1:-1], operation[-1]
        if kind == "f32x2":
            return self._calculate_two(operation, operands) if modifiers == ["rn"] else None
        dtype = number_of(kind)
        target, *sources = operands
        if dtype.kind != "f":
            function = {(): _INTEGERS[name], ("relu",): arithmetic.not_negative(_INTEGERS[name])}.get(tuple(modifiers))
            return self._apply(function, target, sources, [dtype] * len(sources)) if function else None
        if name in _EXACT_FLOATS and not modifiers:
            function = _EXACT_FLOATS[name]
        elif modifiers == ["rn"] and (name != "fma" or kind == "f32"):
            function = _FLOATS[name]
        else:
            return None
        return self._apply(function, target, sources, [dtype] * len(sources))

    def _calculate_two(self, operation, operands):
        """A pair of float32 in 64 bits."""
        function, (target, *sources) = _FLOATS[operation[0]], operands

        def both(*pairs):
            pairs = np.broadcast_arrays(*pairs)
            halves = [np.ascontiguousarray(pair).view(np.float32).reshape(-1, 2) for pair in pairs]
            results = [function(*[half[:, index].copy() for half in halves]) for index in (0, 1)]
            return np.stack(results, axis=1).view(np.uint64)[:, 0]

        return self._apply(both, target, sources, [np.uint64] * len(sources))

    def _mul(self, operation, operands):
        dtype = number_of(operation[-1]) if operation[-1] != "f32x2" else None
        if dtype is None or dtype.kind == "f":
            return self._calculate(operation, operands)
        _, part, _ = operation
        if part != "lo" and dtype.itemsize == 8:
            return None
        return self._apply(_PRODUCTS[part], operands[0], operands[1:], [dtype] * 2)

    def _mad(self, operation, operands):
        _, part, kind = operation
        dtype = number_of(kind)
        total = number_of(kind[0] + str(2 * int(kind[1:]))) if part == "wide" else dtype
        function = _PRODUCTS[part]
        return self._apply(lambda a, b, c: function(a, b) + c, operands[0], operands[1:], [dtype, dtype, total])

    def _dp4a(self, operation, operands):
        _, *kinds = operation
        return self._dot(arithmetic.dot_bytes, kinds, operands)

    def _dp2a(self, operation, operands):
        _, half, *kinds = operation
        shift = {"lo": 0, "hi": 16}[half]
        return self._dot(lambda a, b, c: arithmetic.dot_halves(a, b >> b.dtype.type(shift), c), kinds, operands)

    def _dot(self, function, kinds, operands):
        first, second = map(number_of, kinds)
        total = np.uint32 if first.kind == second.kind == "u" else np.int32
        return self._apply(function, operands[0], operands[1:], [first, second, total])

    def _setp(self, operation, operands):
        _, comparison, kind = operation
        dtype = number_of(kind)
        function = (_FLOAT_COMPARISONS if dtype.kind == "f" else _COMPARISONS)[comparison]
        return self._apply(function, operands[0], operands[1:], [dtype] * 2)

    def _selp(self, operation, operands):
        dtype = bits_of("b" + operation[1][1:])
        return self._apply(lambda a, b, p: np.where(p, a, b), operands[0], operands[1:], [dtype, dtype, np.bool_])

    def _shl(self, operation, operands):
        return self._apply(arithmetic.shift_left, operands[0], operands[1:], [number_of(operation[1]), np.uint32])

    def _shr(self, operation, operands):
        return self._apply(arithmetic.shift_right, operands[0], operands[1:], [number_of(operation[1]), np.uint32])

    def _bfe(self, operation, operands):
        dtype = number_of(operation[1])
        return self._apply(arithmetic.field, operands[0], operands[1:], [dtype] * 3) if dtype.itemsize == 4 else None

    def _prmt(self, operation, operands):
        if operation[1:] != ["b32"]:
            return None
        return self._apply(arithmetic.permute, operands[0], operands[1:], [np.uint32] * 3)

    def _cvt(self, operation, operands):
        if operation[1] == "pack":
            if operation[2:] != ["sat", "u8", "s32", "b32"]:
                return None
            return self._apply(arithmetic.pack_bytes, operands[0], operands[1:], [np.int32, np.int32, np.uint32])
        _, *rounding, to, kind = operation
        if kind in _WIDENINGS and to == "f32" and not rounding:
            return self._apply(_WIDENINGS[kind], operands[0], operands[1:], [np.uint16])
        if to.removesuffix("x2") in _NARROWINGS:
            return self._narrow(to, operands) if (rounding, kind) == (["rn"], "f32") else None
        result, source = number_of(to), number_of(kind)
        if result.kind == source.kind == "f":
            return None
        if source.kind == "f":
            if rounding != ["rzi"]:
                return None
            return self._apply(lambda a: arithmetic.to_integer(a, result), operands[0], operands[1:], [source])
        if rounding != (["rn"] if result.kind == "f" else []):
            return None
        return self._apply(lambda a: a.astype(result), operands[0], operands[1:], [source])

    def _narrow(self, to, operands):
        bits = _NARROWINGS[to.removesuffix("x2")]
        if not to.endswith("x2"):
            return self._apply(lambda a: bits(a).astype(np.uint16), operands[0], operands[1:], [np.float32])
        return self._apply(
            lambda high, low: (bits(high) << np.uint32(16)) | bits(low), operands[0], operands[1:], [np.float32] * 2
        )

    # --- moving

    def _mov(self, operation, operands):
        dtype = bits_of(operation[1])
        target, source = operands
        if target.startswith("{"):
            return self._unpack(dtype, vector(target), source)
        if source.startswith("{"):
            return self._pack(dtype, target, vector(source))
        return self._apply(lambda a: a, target, [source], [dtype])

    def _unpack(self, dtype, targets, source):
        width = dtype.itemsize // len(targets)
        read, writes = self._source(source, dtype), [self._target(target) for target in targets]

        def run(state):
            value = read(state)
            for index, write in enumerate(writes):
                write(state, (value >> dtype.type(8 * width * index)).astype(f"u{width}"))

        return run

    def _pack(self, dtype, target, sources):
        width = dtype.itemsize // len(sources)

        def pack(*parts):
            whole = dtype.type(0)
            for index, part in enumerate(parts):
                whole = whole | (part.astype(dtype) << dtype.type(8 * width * index))
            return whole

        return self._apply(pack, target, sources, [f"u{width}"] * len(sources))

    def _ld(self, operation, operands):
        _, space, *modifiers, kind = operation
        space = space.removesuffix("::cta")
        targets = [self._target(operand) for operand in vector(operands[0])]
        base, offset = place(operands[1])
        width = bits_of(kind).itemsize
        if space == "param":
            index = self._module.parameters.index(base)
            return lambda state: targets[0](state, state.arguments[index].view(f"u{width}"))
        if not self._is_plain(space, modifiers, len(targets)):
            return None
        address, dtype = self._address(base, offset), number_of(kind)

        def run(state):
            for write, values in zip(targets, state.load(space, address(state), width, len(targets)), strict=True):
                write(state, values.view(dtype))

        return run

    def _st(self, operation, operands):
        _, space, *modifiers, kind = operation
        space = space.removesuffix("::cta")
        base, offset = place(operands[0])
        sources = [self._source(operand, bits_of(kind)) for operand in vector(operands[1])]
        if not self._is_plain(space, modifiers, len(sources)):
            return None
        address = self._address(base, offset)

        def run(state):
            state.store(space, address(state), [read(state) for read in sources], bits_of(kind).itemsize)

        return run

    @staticmethod
    def _is_plain(space, modifiers, count):
        return space in ("global", "shared") and modifiers == ([f"v{count}"] if count > 1 else [])

    def _address(self, base, offset):
        dtype = self._dtypes[self._slots[base]] if base in self._slots else np.dtype(np.uint32)
        read, offset = self._source(base, dtype), np.uint64(offset & (2**64 - 1))
        return lambda state: read(state).astype(np.uint64, copy=False) + offset

    def _ldmatrix(self, operation, operands):
        address = self._matrices(operation, operands[1])
        targets = [self._target(operand) for operand in vector(operands[0])]

        def run(state):
            for number, write in enumerate(targets):
                low, high = (state.load("shared", at, 2, 1)[0].astype(np.uint32) for at in address(state, number))
                write(state, low | (high << np.uint32(16)))

        return run

    def _stmatrix(self, operation, operands):
        address = self._matrices(operation, operands[0])
        sources = [self._source(operand, np.uint32) for operand in vector(operands[1])]

        def run(state):
            for number, read in enumerate(sources):
                for half, at in enumerate(address(state, number)):
                    state.store("shared", at, [(read(state) >> np.uint32(16 * half)).astype(np.uint16)], 2)

        return run

    def _matrices(self, operation, operand):
        """Where a thread's two numbers of an 8 x 8 matrix lie: row t / 4, columns 2 (t mod 4) and the next.

        Lane 8 m + r of a warp has the address of row r of matrix m. With .trans rows and columns change places.
        """
        if (
            operation[1:4] != ["sync", "aligned", "m8n8"]
            or not operation[-2].startswith("shared")
            or operation[-1] != "b16"
        ):
            raise ValueError
        base, offset = place(operand)
        read, transposed = self._address(base, offset), "trans" in operation

        def address(state, number):
            rows = np.broadcast_to(read(state), len(state.lanes)).reshape(-1, 32)[:, 8 * number : 8 * number + 8]
            state.check_whole_warps()
            thread = np.arange(32)
            pair = 2 * (thread % 4)
            if transposed:
                return [(rows[:, pair + half] + (2 * (thread // 4)).astype(np.uint64)).ravel() for half in (0, 1)]
            return [(rows[:, thread // 4] + (2 * (pair + half)).astype(np.uint64)).ravel() for half in (0, 1)]

        return address
