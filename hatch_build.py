"""The build hook: compiles the native CPU code into wheels and editable installs, where there is a C compiler.

The wheel is then for this platform and every Python 3, since the code is called through ctypes. Without a compiler, or
elsewhere than on Linux on x86-64, the wheel is pure: it holds the C sources, and torch and Pillow do the work.

    CC                        the compiler, which then has to work; default: cc or clang, if there is one
    FASTNORM_WHEEL_PLATFORM   the wheel's platform tag, such as manylinux_2_17_x86_64; default: this machine's;
                              any: a pure wheel, for all platforms
"""

from __future__ import annotations

import importlib.util
import os
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = "kernels/fastnorm_native"
PURE = "any"


class NativeBuildHook(BuildHookInterface):
    """Adds the library to the wheel, and its platform to the wheel's name."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002  # hatchling's signature
        """Called before the wheel's files are collected."""
        package = Path(self.root) / PACKAGE
        building = _load(package / "building.py")
        library = package / building.LIBRARY_NAME
        platform = os.environ.get("FASTNORM_WHEEL_PLATFORM", "")
        why = "" if platform == PURE else _build(building, library)
        if why and (platform or os.environ.get("CC")):
            raise SystemExit(f"no native code, which CC or FASTNORM_WHEEL_PLATFORM asks for: {why}")
        if why:
            self.app.display_warning(f"a pure wheel, which is slower on the CPU: {why}")
        if why or platform == PURE:
            library.unlink(missing_ok=True)  # another build's
            return
        platform = platform or sysconfig.get_platform()
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform.replace('-', '_').replace('.', '_')}"
        build_data["artifacts"].append(f"/{PACKAGE}/{building.LIBRARY_NAME}")  # although git ignores it


def _build(building: ModuleType, library: Path) -> str:
    """Compile the library; why there is none, or ""."""
    why: str = building.unsupported()
    if not why:
        try:
            building.build(library)
        except building.BuildError as error:
            why = str(error)
    return why


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("fastnorm_native_building", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
