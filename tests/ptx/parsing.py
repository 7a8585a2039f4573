"""The text of a PTX module to its kernel's parameters, registers, labels and instructions."""

from __future__ import annotations

import dataclasses
import re

import numpy as np

from ptx.memory import Fault

_ENTRY = re.compile(r"\.visible \.entry (\w+)\((.*?)\)(.*?)\{(.*?)^\}", re.DOTALL | re.MULTILINE)
_PARAMETER = re.compile(r"\.param \.(\w+)[^,]*?(\w+)\s*(?:,|$)")
_SHARED = re.compile(r"\.shared[^;]*?\.b8 (\w+)\[\d*\]")
_LABEL = re.compile(r"^(\$?[\w$]+):")
_REGISTERS = re.compile(r"\.reg \.(\w+)\s+%(\w+)<(\d+)>")
_PLACE = re.compile(r"^\[\s*(%?[\w.$]+)\s*(?:\+\s*(-?\d+))?\s*\]$")
_IGNORED = (".loc", ".file", ".pragma", ".section")


def bits_of(kind):
    """The dtype of a register or of untyped bits: pred, b32, f32, u32 ..."""
    if kind == "pred":
        return np.dtype(np.bool_)
    return np.dtype(f"u{int(kind[1:]) // 8}")


def number_of(kind):
    """The dtype to compute in: s32 is int32, b32 uint32."""
    if kind == "pred":
        return np.dtype(np.bool_)
    return np.dtype({"u": "u", "b": "u", "s": "i", "f": "f"}[kind[0]] + str(int(kind[1:]) // 8))


@dataclasses.dataclass
class Instruction:
    """One instruction, such as `@!%p1 ld.global.v2.b32 {%r1, %r2}, [%rd1+4]`."""

    text: str
    guard: str | None  # a predicate register
    negated: bool
    operation: list[str]  # ld, global, v2, b32
    operands: list[str]

    @property
    def name(self):
        return ".".join(self.operation)


class Module:
    """What a module says of its one kernel."""

    def __init__(self, ptx):
        text = re.sub(r"//[^\n]*", "", ptx)
        self.name, parameters, attributes, body = _ENTRY.search(text).groups()
        self.parameters = [name for _, name in _PARAMETER.findall(parameters.strip())]
        self.threads = int(re.search(r"\.reqntid (\d+)", attributes).group(1))
        self.symbols = dict.fromkeys(_SHARED.findall(text), 0)  # all of shared memory is one array
        self.registers = {}  # name to dtype
        self.labels = {}  # name to the number of the instruction that follows
        self.instructions = []
        for line in re.split(r"[;\n]", body):
            self._read(line.strip())

    def _read(self, line):
        while label := _LABEL.match(line):
            self.labels[label.group(1)] = len(self.instructions)
            line = line[label.end() :].strip()
        if line in ("", "{", "}") or line.startswith(_IGNORED):
            return
        if line.startswith(".reg"):
            kind, stem, count = _REGISTERS.match(line).groups()
            self.registers |= {f"%{stem}{i}": bits_of(kind) for i in range(int(count))}
        elif line.startswith("."):
            raise Fault(f"unknown directive: {line}")
        else:
            self.instructions.append(_instruction(line))


def _instruction(line):
    guard, text = None, line
    if line.startswith("@"):
        guard, line = line[1:].split(None, 1)
    name, _, operands = line.replace("\t", " ").partition(" ")
    negated = guard is not None and guard.startswith("!")
    return Instruction(text, guard.lstrip("!") if guard else None, negated, name.split("."), split(operands))


def split(text):
    """Operands at the commas that are not within brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += character in "[{("
        depth -= character in "]})"
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def vector(operand):
    """The registers of `{%r1, %r2}`, or the one that stands alone."""
    return split(operand[1:-1]) if operand.startswith("{") else [operand]


def place(operand):
    """`[%rd1+4]` to its register or name, and the offset."""
    base, offset = _PLACE.match(operand).groups()
    return base, int(offset or 0)
