"""The timing helper, on a clock that the calls themselves advance: what a machine's load does is not tested."""

import pytest
import torch

from fastnorm.runtime import timing

CPU = torch.device("cpu")


class Clock:
    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    return clock


def test_calls_take_turns_after_a_warm_up(clock):
    order = []

    def call(name, seconds):
        order.append(name)
        clock.now += seconds

    calls = [lambda: call("a", 1.0), lambda: call("b", 2.0)]  # so long that a round takes one call
    assert timing.interleaved(calls, CPU, rounds=3) == [1.0, 2.0]
    assert "".join(order) == "aabb" + "ab" * 3


def test_short_calls_are_repeated_until_a_round_is_long_enough(clock):
    calls = []

    def call():
        calls.append(0)
        clock.now += 0.001

    assert timing.interleaved([call], CPU, rounds=2) == pytest.approx([0.001], rel=1e-9)  # sums of 0.001 round
    assert len(calls) == 2 + 2 * round(timing.MIN_ROUND_SECONDS / 0.001)


def test_the_median_ignores_one_disturbed_round(clock):
    durations = iter([1.0, 1.0, 1.0, 50.0, 1.0])

    def call():
        clock.now += next(durations)

    assert timing.interleaved([call], CPU, rounds=3) == [1.0]
