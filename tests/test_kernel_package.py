"""The kernel package by itself: the records that host and kernels share, and loading under any name."""

import ast
import pathlib

import pytest

import fastnorm_kernels
import forking
from fastnorm_kernels.jobs import LineJob, OutputJob, TableJob

pytestmark = pytest.mark.compat

PACKAGE = pathlib.Path(fastnorm_kernels.__file__).parent
KERNELS = ast.parse((PACKAGE / "_resize_kernels.py").read_text())


def function(name):
    return next(node for node in KERNELS.body if isinstance(node, ast.FunctionDef) and node.name == name)


def positions_loaded(name):
    """Which field of a record each value is loaded from, in the order in which a loader returns them."""
    (returned,) = (node.value for node in ast.walk(function(name)) if isinstance(node, ast.Return))
    loads = [
        next(n for n in ast.walk(value) if isinstance(n, ast.Call) and ast.unparse(n.func) == "tl.load")
        for value in returned.elts
    ]
    pointers = [ast.unparse(load.args[0]) for load in loads]
    return [0 if pointer == "field" else int(pointer.removeprefix("field + ")) for pointer in pointers]


def names_unpacked(kernel, loader):
    """The names that a kernel gives to what a loader returns, in order."""
    names = []
    for node in ast.walk(function(kernel)):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
            source = ast.unparse(node.value)
            if source.startswith((f"{loader}(", "job[")):
                names += [element.id for element in node.targets[0].elts]
    return names


@pytest.mark.parametrize(
    ("record", "loader", "kernel"),
    [
        (TableJob, "_table_job", "_tables_kernel"),
        (LineJob, "_line_job", "_along_lines_kernel"),
        (OutputJob, "_output_job", "_across_lines_kernel"),
    ],
)
def test_kernels_load_a_record_s_fields_in_the_order_in_which_the_host_packs_them(record, loader, kernel):
    assert positions_loaded(loader) == list(range(len(record._fields)))
    assert names_unpacked(kernel, loader) == list(record._fields)


@pytest.mark.once
def test_the_package_loads_under_another_name():
    """As the Hugging Face Hub loads kernels: from a folder, under a name that it makes up."""
    program = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("hub_0123", {str(PACKAGE / "__init__.py")!r},
                                              submodule_search_locations=[{str(PACKAGE)!r}])
module = importlib.util.module_from_spec(spec)
sys.modules["hub_0123"] = module
spec.loader.exec_module(module)
import torch
import hub_0123.inspection.normalize, hub_0123.inspection.resize
from hub_0123.normalize import choose, plans_of
x, y = torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(1, 3, 8, 8)
print(choose(x, (y,), plans_of([((0.5,) * 3, (0.5,) * 3)])).kernel.__name__)
assert not [name for name in sys.modules if name.partition(".")[0] in ("fastnorm", "fastnorm_kernels")]
"""
    done = forking.run("-c", program, cwd=PACKAGE.anchor)
    assert (done.stdout, done.returncode) == ("_normalize_dense_kernel\n", 0), done.stderr
