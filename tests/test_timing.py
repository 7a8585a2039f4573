"""The timing helper: calls in turns, and medians that are not shorter than the work."""

import time

import pytest
import torch

from fastnorm.cli import timing


def test_calls_take_turns_after_a_warm_up():
    order = []

    def call(name):
        order.append(name)
        time.sleep(1.5 * timing.SHORTEST_ROUND)  # so long that a round takes one call

    medians = timing.interleaved([lambda: call("a"), lambda: call("b")], torch.device("cpu"), rounds=3)
    assert "".join(order) == "aabb" + "ab" * 3
    assert all(median >= 1.5 * timing.SHORTEST_ROUND for median in medians)


def test_short_calls_are_repeated_and_counted_once_each():
    calls = []
    (median,) = timing.interleaved([lambda: (calls.append(0), time.sleep(0.001))], torch.device("cpu"), rounds=2)
    assert len(calls) > 2 + 2
    assert median == pytest.approx(0.001, rel=3)
