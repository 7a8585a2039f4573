"""Whether the tests would notice: changes single instructions of the compiled kernels, and runs tests on each change.

    PYTHONPATH=.:kernels:tests python tests/mutate_kernels.py [--arch sm_90] [--every 3]

prints, for each kernel, how many changes were made and how many of them some test caught, then every survivor. A change
survives where it makes no difference to any result, or where no test looks. docs/kernel-tests.md explains the former.
"""

import argparse
import collections
import dataclasses
import functools
import sys
import warnings

import torch

from ptx import Fault, bridge, interpreter

OTHER = {
    "add": "sub",
    "sub": "add",
    "and": "or",
    "or": "and",
    "xor": "or",
    "shl": "shr",
    "shr": "shl",
    "min": "max",
    "max": "min",
    "div": "rem",
    "rem": "div",
}
COMPARISONS = {"lt": "le", "le": "lt", "gt": "ge", "ge": "gt", "eq": "ne", "ne": "eq"}


def changes(instruction):
    """What may go wrong in one instruction: (what was done, the changed instruction)."""
    operation, operands = instruction.operation, instruction.operands

    def with_operation(position, name):
        return dataclasses.replace(instruction, operation=[*operation[:position], name, *operation[position + 1 :]])

    def with_operand(position, operand):
        return dataclasses.replace(instruction, operands=[*operands[:position], operand, *operands[position + 1 :]])

    if instruction.guard:
        yield "guard turned round", dataclasses.replace(instruction, negated=not instruction.negated)
    if operation[0] in OTHER and operation[-1] not in ("f64",):
        yield "another operation", with_operation(0, OTHER[operation[0]])
    if operation[0] == "setp":
        yield "another comparison", with_operation(1, COMPARISONS[operation[1]])
    if operation[0] == "selp":
        yield "sides exchanged", with_operand(1, operands[2]) if operands[1] != operands[2] else with_operand(2, "0")
    if operation[0] in ("mad", "fma"):
        yield "factor for addend", with_operand(3, operands[1]) if operation[1] != "wide" else with_operand(3, "0")
    if operation[0] in ("ld", "st") and operation[1] != "param":
        position = 1 if operation[0] == "ld" else 0
        inside = operands[position].strip("[] ")
        base, _, offset = inside.partition("+")
        yield "the next address", with_operand(position, f"[{base.strip()}+{int(offset or 0) + 4}]")
    for position, operand in enumerate(operands[1:], 1):
        if operand.lstrip("-").isdigit():
            yield "a constant one larger", with_operand(position, str(int(operand) + 1))
        elif operand[:2] == "0f":
            yield "a float constant one unit larger", with_operand(position, f"0f{int(operand[2:], 16) + 1:08X}")


def checks():
    """Tests by name, each quick, from those that run the kernels on the CPU."""
    import test_exactness
    import test_resize_kernels as resizing
    import test_shapes
    from fastnorm.spec.filters import BICUBIC, BILINEAR, BOX, LANCZOS
    from helpers import DTYPES, random_pixels

    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        for name, pixels, layout, memory_format in (
            ("NHWC", random_pixels(3, 24, 32, 3), "NHWC", torch.contiguous_format),
            ("NCHW", random_pixels(3, 3, 24, 32), "NCHW", torch.contiguous_format),
            ("NHWC to channels_last", random_pixels(3, 24, 32, 3), "NHWC", torch.channels_last),
            ("NHWC crop", random_pixels(3, 27, 67, 3)[:, 1:25, 2:66], "NHWC", torch.contiguous_format),
            ("NCHW crop to channels_last", random_pixels(3, 3, 27, 67)[..., 1:25, 2:66], "NCHW", torch.channels_last),
        ):
            found[f"random {name} {dtype}"] = functools.partial(
                test_shapes.check, "kernel", pixels, layout, (dtype,) * 2, memory_format
            )
            found[f"codes {name} {dtype}"] = functools.partial(
                test_exactness.test_every_code_in_every_place_of_a_tile,
                layout, memory_format, 3 * ("crop" in name), dtype, torch.device("cpu"),
            )  # fmt: skip
    for kernel in (BILINEAR, BICUBIC, BOX, LANCZOS):
        for vertical in (False, True):
            for size in ((10, 17), (31, 27)):
                found[f"pixels {kernel.name} {vertical} {size}"] = functools.partial(
                    resizing.test_pixels_are_pillows, kernel, size, vertical
                )
    for dtype in DTYPES:
        for memory_format in (torch.contiguous_format, torch.channels_last):
            for width in (32, 25):
                found[f"outputs {dtype} {memory_format} {width}"] = functools.partial(
                    resizing.test_outputs_of_every_kind, dtype, memory_format, width
                )
        for step in (1, 8):
            found[f"ends {dtype} {step}"] = functools.partial(
                resizing.test_a_tile_may_end_after_any_row_or_column, dtype, step
            )
    for layout in ("NHWC", "NCHW"):
        for memory_format in (torch.contiguous_format, torch.channels_last):
            for dtype in (torch.float32, torch.bfloat16):
                for width in (48, 64):
                    found[f"ends {layout} {memory_format} {dtype} {width}"] = functools.partial(
                        test_shapes.test_a_tile_may_end_after_any_row,
                        layout, width, memory_format, dtype, torch.device("cpu"),
                    )  # fmt: skip
    for layout in (resizing.interleaved, resizing.planar, resizing.four_bytes_a_pixel):
        for dtype in (torch.float32, torch.bfloat16):
            for shape in ((32, 64), (40, 37)):
                found[f"tile {shape} {layout.__name__} {dtype}"] = functools.partial(
                    resizing.test_every_place_of_a_tile_overshoots_both_ends, shape, layout, dtype
                )
    for layout in resizing.LAYOUTS:
        found[f"layout {layout.__name__}"] = functools.partial(resizing.test_images_of_any_strides, layout, False)
    found["ragged"] = functools.partial(
        resizing.test_ragged_images_packed_into_one_buffer, BICUBIC, resizing.CropRule.TORCHVISION
    )
    found["three dtypes"] = resizing.test_three_targets_of_three_dtypes
    found["mirrored"] = functools.partial(
        resizing.test_mirrored_images, True, True, resizing.PassOrder.HORIZONTAL_FIRST
    )
    for layout in (resizing.padded_rows, resizing.odd_planes):
        found[f"blocks {layout.__name__}"] = functools.partial(
            resizing.test_blocks_of_lines_end_with_the_last_line, layout
        )
    for layout in (resizing.padded_rows, resizing.odd_planes, resizing.four_bytes_a_pixel):
        found[f"several blocks {layout.__name__}"] = functools.partial(
            resizing.test_a_program_takes_several_blocks_of_lines, layout
        )
    for kernel in (BOX, BILINEAR, BICUBIC):
        found[f"tables {kernel.name}"] = functools.partial(
            resizing.test_tables_made_on_the_device_are_the_hosts, kernel
        )
    return found


class Kernels:
    """Stands in for `bridge._kernel`: notes which kernels are asked for, and gives a changed one instead of its own."""

    def __init__(self):
        self.used = set()
        self.changed = {}
        self._make = functools.cache(interpreter.Kernel)

    def __call__(self, ptx, shared_bytes):
        self.used.add((ptx, shared_bytes))
        return self.changed.get(ptx) or self._make(ptx, shared_bytes)


def caught(check):
    try:
        check()
    except (Fault, AssertionError):
        return True
    return False


def trap(state):
    raise Fault(f"executed by {len(state.lanes)} lanes")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="sm_90")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="of the changes, only each Nth")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    bridge.compile_to_ptx_only()
    bridge.install(options.arch)
    bridge._kernel = kernels = Kernels()
    interpreter.MOST_STEPS = 50_000
    users = collections.defaultdict(list)  # of each kernel's code, the tests that run it
    for name, check in checks().items():
        kernels.used.clear()
        check()
        for used in kernels.used:
            users[used].append(name)
    tests = checks()
    for (ptx, shared_bytes), names in sorted(users.items(), key=lambda item: interpreter.Module(item[0][0]).name):
        kernel, made, survivors = interpreter.Kernel(ptx, shared_bytes), 0, []
        candidates = [
            (position, what, changed)
            for position, instruction in enumerate(kernel.instructions)
            for what, changed in changes(instruction)
        ]
        for position, what, changed in candidates[:: options.every]:
            try:
                kernels.changed = {ptx: kernel.changed(position, changed)}
            except Fault:
                continue  # there is no such instruction
            made += 1
            if not any(caught(tests[name]) for name in names):
                kernels.changed[ptx].functions[position] = trap
                executed = any(caught(tests[name]) for name in names)
                survivors.append((what if executed else "never executed", kernel.instructions[position].text))
        kernels.changed = {}
        print(f"{kernel.module.name}: {made - len(survivors)} of {made} changes caught", flush=True)
        for survivor in survivors:
            print("   ", *survivor, sep=" | ", flush=True)


if __name__ == "__main__":
    sys.exit(main())
