"""What a compiled kernel's machine code holds: its instructions counted, by kind and by loop."""

from __future__ import annotations

import collections
import dataclasses
import functools
import hashlib
import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import triton
from triton.compiler import CompiledKernel
from triton.runtime.cache import get_cache_manager

# An instruction of nvdisasm's listing: its address in a comment, a predicate, then the operation.
_SASS = re.compile(r"/\*[0-9a-f]{4,5}\*/\s+(?:@!?U?P\d+\s+)?([A-Z][A-Z0-9_.]*)")
# The same or a label; of a branch, the label that it goes to as well.
_SASS_FLOW = re.compile(rf"^\s*(\.L_x_\d+):|{_SASS.pattern}(?:[^;\n]*`\((\.L_x_\d+)\))?", re.MULTILINE)
_SASS_BITS = re.compile(r"\.(?:U|S)?(8|16|64|128)\b")

# Of PTX: flushing subnormal numbers to zero, approximations, full-range division (2 ulp), roundings other than nearest.
_INEXACT_PTX = re.compile(r"^\s+\S*\.(?:ftz|approx|full|rz|rm|rp|rna)\b.*$", re.MULTILINE)

# A division becomes many instructions of the machine's, fused ones among them, but one of PTX.
_FLOAT64_PTX = re.compile(r"^\s+(add|sub|mul|div|rcp|fma)\S*\.f64\b", re.MULTILINE)

# An instruction of AMD's assembly stands in a line of its own. A memory access names what it moves: on CDNA a byte, a
# short or a number of 32-bit words, on RDNA the bits.
_AMD = re.compile(r"^\s+([svdbgf][a-z]*_[a-z0-9_]+)", re.MULTILINE)
_AMD_ACCESS = re.compile(
    r"^(?:global|buffer|flat|scratch)_(?P<to>load|store)_(?:d16_)?(?:hi_)?"
    r"(?:[us]?(?P<kind>byte|short|dword)(?:x(?P<words>\d))?|[bui](?P<bits>\d+))"
)
_AMD_BITS = {"byte": 8, "short": 16, "dword": 32}
# AMD's instructions for a division are many and fused; LLVM's operations say what they are to compute, and with which
# liberties: of merging, of reordering, of approximating.
_LLVM_FLOAT = re.compile(r"= f(add|sub|mul|div)((?: [a-z]+)*) (?:float|double|<\d+ x (?:float|double)>) ")
_LLVM_FLOAT64 = re.compile(r"= f(add|sub|mul|div)(?: [a-z]+)* double |call double @llvm\.(fma)")
_LIBERTIES = {"fast", "contract", "reassoc", "arcp", "afn"}


_Span = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Loop:
    """A loop of NVIDIA's machine code; `instructions` are one iteration's, without those of loops inside it."""

    depth: int  # 1 is outermost
    instructions: int


def count(compiled: CompiledKernel) -> dict[str, Any]:
    """The numbers of an `offline.Report` that can be read off the code alone."""
    return _count_sass(compiled) if "cubin" in compiled.asm else _count_amd(compiled)


def loops(compiled: CompiledKernel) -> list[Loop]:
    """The loops of code for NVIDIA's GPUs, in the order in which they begin."""
    _, spans, _ = _flow(compiled)
    inside = {span: [other for other in spans if _encloses(span, other)] for span in spans}
    depth = {span: 1 + sum(span in others for others in inside.values()) for span in spans}
    return [
        Loop(
            depth[span],
            span[1] - span[0] - sum(b - a for a, b in inside[span] if depth[a, b] == depth[span] + 1),
        )
        for span in spans
    ]


def operations(compiled: CompiledKernel) -> list[collections.Counter[str]]:
    """The operations of code for NVIDIA's GPUs, such as IMAD, by where they stand.

    First those outside of all loops; those that a branch skips together with an outermost loop; those of these loops;
    those that a branch skips together with a loop in them; and so on.
    """
    names, spans, skips = _flow(compiled)
    depth = [sum(first <= position < stop for first, stop in spans) for position in range(len(names))]
    found = [collections.Counter[str]() for _ in range(2 * max(depth) + 1)]
    for position, name in enumerate(names):
        skipped = any(
            first <= position < stop and any(depth[inside] == depth[position] + 1 for inside in range(first, stop))
            for first, stop in skips
        )
        found[2 * depth[position] + skipped][name.split(".")[0]] += 1
    return found


def _flow(compiled: CompiledKernel) -> tuple[list[str], list[_Span], list[_Span]]:
    """All operations but NOP, the loops, and what a branch may skip: from the first operation to after the last."""
    sass, _ = _disassemble(compiled.asm["cubin"])
    labels: dict[str, int] = {}
    names: list[str] = []
    branches: list[tuple[int, str]] = []
    for label, operation, target in _SASS_FLOW.findall(sass):
        if label:
            labels[label] = len(names)
            continue
        if operation != "NOP":
            names.append(operation)
        if operation == "BRA":
            branches.append((len(names), target))
    # A branch to itself is the padding after the code's end.
    loops = [(labels[target], after) for after, target in branches if labels.get(target, after) < after - 1]
    skips = [(after, labels[target]) for after, target in branches if labels.get(target, after) > after]
    return names, sorted(loops, key=lambda span: (span[0], -span[1])), skips


def _encloses(span: _Span, other: _Span) -> bool:
    return span != other and span[0] <= other[0] and other[1] <= span[1]


def _count_sass(compiled: CompiledKernel) -> dict[str, Any]:
    sass, usage = _disassemble(compiled.asm["cubin"])
    operations = collections.Counter(name for name in _SASS.findall(sass) if name != "NOP")
    kinds = collections.Counter[str]()
    widths: dict[str, collections.Counter[int]] = {"LDG": collections.Counter(), "STG": collections.Counter()}
    for name, n in operations.items():
        kind = name.split(".")[0]
        kinds[kind] += n
        if kind in widths:
            bits = _SASS_BITS.search(name)
            widths[kind][int(bits.group(1)) if bits else 32] += n
    used = {key: int(value) for key, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", usage)}
    return {
        "instructions": operations.total(),
        "registers": used["REG"],
        "spills": used["STACK"] + used["LOCAL"] + kinds["LDL"] + kinds["STL"],
        "barriers": kinds["BAR"],
        "calls": kinds["CALL"],
        "loads": dict(widths["LDG"]),
        "stores": dict(widths["STG"]),
        "arithmetic": {kind: kinds[kind] for kind in ("FFMA", "FMUL", "FADD")},
        "float64": dict(collections.Counter(_FLOAT64_PTX.findall(compiled.asm["ptx"]))),
        "inexact": len(_INEXACT_PTX.findall(compiled.asm["ptx"])),
    }


def _count_amd(compiled: CompiledKernel) -> dict[str, Any]:
    assembly = compiled.asm["amdgcn"]
    operations = collections.Counter(name for name in _AMD.findall(assembly) if name != "s_nop")
    widths: dict[str, collections.Counter[int]] = {"load": collections.Counter(), "store": collections.Counter()}
    for name, n in operations.items():
        access = _AMD_ACCESS.match(name)
        if access:
            bits = int(access["bits"] or 0) or _AMD_BITS[access["kind"]] * int(access["words"] or 1)
            widths[access["to"]][bits] += n

    def noted(key: str) -> int:
        return int(re.search(rf"\.{key}:\s*(\d+)", assembly).group(1))  # type: ignore[union-attr]

    liberties = [flags for _, flags in _LLVM_FLOAT.findall(compiled.asm["llir"]) if _LIBERTIES & set(flags.split())]
    return {
        "instructions": operations.total(),
        "registers": noted("vgpr_count"),
        "spills": noted("vgpr_spill_count") + noted("sgpr_spill_count"),
        "barriers": operations["s_barrier"],
        "calls": operations["s_swappc_b64"],
        "loads": dict(widths["load"]),
        "stores": dict(widths["store"]),
        "arithmetic": {},
        "float64": dict(collections.Counter(a or b for a, b in _LLVM_FLOAT64.findall(compiled.asm["llir"]))),
        "inexact": len(liberties),
    }


@functools.lru_cache
def _disassemble(cubin: bytes) -> tuple[str, str]:
    """The listing of the code, and what it uses. Kept beside the code in Triton's cache: the tools take longer than
    a compilation that is read from there."""
    kept = get_cache_manager(hashlib.sha256(f"{triton.__version__} listing".encode() + cubin).hexdigest())
    path = kept.get_file("listing.json")
    if path is not None:
        sass, usage = json.loads(Path(path).read_text())
        return sass, usage
    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "kernel.cubin")
        file.write_bytes(cubin)
        sass, usage = (
            subprocess.run([tools / command, *options, file], capture_output=True, text=True, check=True)
            for command, *options in (("nvdisasm", "-c"), ("cuobjdump", "-res-usage"))
        )
    found = sass.stdout, usage.stdout + usage.stderr
    kept.put(json.dumps(found), "listing.json", binary=False)
    return found
