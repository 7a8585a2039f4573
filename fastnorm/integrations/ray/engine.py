"""Ray, started in this process where nobody has started it, and what every use of it here has in common."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from typing import Any

from fastnorm.data.text import one_line

# Ray's own defaults try for ever where a worker dies each time.
TASK_RETRIES = ACTOR_RETRIES = 8
ACTOR_RESTARTS = 8
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
# A machine whose cores are all busy answers late, and is not dead: Ray's own limits are 30 to 60 seconds.
_PATIENT = {
    "RAY_gcs_rpc_server_reconnect_timeout_s": "300",
    "RAY_gcs_server_port_wait_time_s": "300",
    "RAY_gcs_server_request_timeout_seconds": "300",
    "RAY_health_check_failure_threshold": "30",  # checks in a row, each of up to 10 seconds
    "RAY_raylet_start_wait_time_s": "300",
    "RAY_worker_register_timeout_seconds": "300",
}
_STARTS = 3  # two limits of Ray 2.60's start, of 15 and 30 seconds, are fixed in its code
# One for the encoder, which holds it, and one for the tasks that read and write.
_MIN_CPUS = 2


class StartError(RuntimeError):
    """Ray that could not be started, or reached."""


class Engine:
    """Ray, once it is needed."""

    def __init__(self, address: str | None, cpus: int | None) -> None:
        self._address, self._cpus = address, cpus
        self.started = False
        self._is_ours = False

    def start(self) -> None:
        if self.started:
            return
        # Else Ray takes the GPUs away from every worker that asks for none.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        for name, value in (_QUIET | _PATIENT).items():  # before Ray is imported, which reads them then
            os.environ.setdefault(name, value)
        import ray.data

        if not ray.is_initialized():
            self._init()
            self._is_ours = True
            ray.data.DataContext.get_current().enable_progress_bars = False
            logger = logging.getLogger("ray.data")
            for handler in list(logger.handlers):  # what remains is written into its log files
                if isinstance(handler, logging.StreamHandler):
                    logger.removeHandler(handler)
        self.started = True

    def _init(self) -> None:
        import ray

        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self._address is not None:
            options |= {"address": self._address}
        else:
            cpus = max(_MIN_CPUS, self._cpus or os.cpu_count() or 1)
            options |= {"num_cpus": cpus, "include_dashboard": False}
        for left in reversed(range(_STARTS if self._address is None else 1)):
            try:
                ray.init(**options)
                return
            except Exception as error:  # noqa: PERF203  # it raises Exception itself where a busy machine takes long
                if not left:
                    raise StartError(f"Ray has not started ({type(error).__name__}: {one_line(str(error))})") from None

    @property
    def cpus(self) -> int:
        import ray

        return int(ray.cluster_resources().get("CPU", 1))

    def stop(self) -> None:
        if self._is_ours:
            import ray

            ray.shutdown()


@contextlib.contextmanager
def engine(address: str | None, cpus: int | None) -> Iterator[Engine]:
    one = Engine(address, cpus)
    try:
        yield one
    finally:
        one.stop()


@contextlib.contextmanager
def bounded_retries() -> Iterator[None]:
    """Ray 2.60 announces that 2.64 takes no max_retries and max_restarts here, and has nothing instead yet."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*ray_remote_args")
        yield


def blocks(rows: int, per_block: int) -> int:
    return max(1, -(-rows // per_block))
