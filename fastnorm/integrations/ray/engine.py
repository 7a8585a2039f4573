"""Ray, started in this process where nobody has started it, and what every use of it here has in common."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator

# Ray's own defaults try for ever where a worker dies each time.
TASK_RETRIES = ACTOR_RETRIES = 8
ACTOR_RESTARTS = 8
# One for the encoder, which holds it, and one for the tasks that read and write.
_LEAST_CPUS = 2


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
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        if not ray.is_initialized():
            quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
            if self._address is not None:
                ray.init(address=self._address, **quiet)
            else:
                cpus = max(_LEAST_CPUS, self._cpus or os.cpu_count() or 1)
                ray.init(num_cpus=cpus, include_dashboard=False, **quiet)
            self._is_ours = True
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # its errors are raised too
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        self.started = True

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


def blocks(rows: int, per_block: int) -> int:
    return max(1, -(-rows // per_block))
