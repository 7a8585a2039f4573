"""Shared set-up: what runs the kernels."""

import gc
import os

import pytest
import torch
from hypothesis import HealthCheck, settings

# --hypothesis-profile=nightly looks longer for what the gate may miss.
settings.register_profile("gate", max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("nightly", settings.get_profile("gate"), max_examples=2000)
settings.load_profile("gate")


def pytest_addoption(parser):
    parser.addoption(
        "--device",
        choices=("interpreter", "compiled", "cuda"),
        help="what runs the kernels: Triton's interpreter; what they compile to, executed on the CPU (the default "
        "without a GPU); a GPU (the default where there is one)",
    )
    parser.addoption("--all-configs", action="store_true", help="every published configuration, not a tenth of them")
    parser.addoption("--arch", default="sm_90", help="with --device=compiled: sm_75 to sm_120 (sm_90)")
    parser.addoption("--every-arch", action="store_true", help="judge the machine code for every architecture")
    parser.addoption("--many-kills", type=int, metavar="IMAGES", help="kill a run over so many images, not 240")
    parser.addoption(
        "--each-value",
        action="store_true",
        help="of each test, only as many cases as it takes for each parameter to have each of its values once",
    )
    parser.addoption("--loops", action="store_true", help="also what needs the packages of the extra `loops`")


def pytest_configure(config):
    """Before any test imports Triton, which reads its environment then."""
    device = config.option.device
    if device in ("interpreter", "compiled"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        raise pytest.UsageError("--device=cuda: torch finds no CUDA device; expected --device=compiled or interpreter")
    config.option.device = device = device or ("cuda" if has_gpu else "compiled")
    if device == "interpreter":
        import triton_interpreter

        triton_interpreter.switch_on()
    elif device == "compiled":
        from ptx import bridge

        bridge.compile_to_ptx_only()
        bridge.install(config.option.arch)


def pytest_report_header(config):
    return f"kernels: {config.option.device}" + f" for {config.option.arch}" * (config.option.device == "compiled")


@pytest.hookimpl(trylast=True)  # --each-value counts what -m has left
def pytest_collection_modifyitems(config, items):
    """Leave out what needs another --device, or --loops; and with --each-value, cases without a new one."""
    needs = {"gpu": "cuda", "compiled": "compiled"}
    absent = [mark for mark, device in needs.items() if config.option.device != device]
    if not config.option.loops:
        absent.append("loops")
    kept = [item for item in items if not any(item.get_closest_marker(mark) for mark in absent)]
    if config.option.each_value:
        kept = with_new_values(kept)
    if len(kept) < len(items):
        chosen = set(kept)
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = kept


def with_new_values(items):
    """The cases of each test in which a parameter has a value for the first time.

    What a version of a library changes mostly shows in one value. All cases run on the newest versions, and with
    `.ci/run --full` on the oldest.
    """
    kept, seen = [], set()
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        # Cases share the very values of a parameter.
        values = {(item.parent.nodeid, item.originalname, name, id(value)) for name, value in parameters.items()}
        if not values or not values <= seen:
            kept.append(item)
        seen |= values
    return kept


def pytest_collection_finish():
    """What exists before the tests stays, millions of objects, which no garbage collection need look at again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def arch(request):
    """The architecture that --device=compiled compiles for."""
    return request.config.option.arch


# One of each kind; the others have the same instructions and as many registers.
ARCHS = ("sm_75", "sm_80", "sm_90", "sm_120", "gfx942", "gfx1100")


@pytest.fixture(scope="session")
def archs(pytestconfig):
    """What machine code is judged for."""
    return archs_of(pytestconfig)


def archs_of(config):
    from fastnorm_kernels.inspection import compiling

    return list(compiling.ARCHS if config.option.every_arch else ARCHS)


def pytest_generate_tests(metafunc):
    if metafunc.definition.get_closest_marker("every_arch"):
        metafunc.parametrize("arch", archs_of(metafunc.config))
    given = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "device" in metafunc.fixturenames and "device" not in given:
        devices = ["cpu", "cuda"] if metafunc.config.option.device == "cuda" else ["cpu"]
        metafunc.parametrize("device", [torch.device(device) for device in devices], ids=devices)
