"""What --pairs leaves out."""

import itertools
from types import SimpleNamespace

import pytest

from conftest import with_new_pairs

VALUES = {"path": ("eager", "native"), "layout": ("NHWC", "NCHW", "HWC"), "dtype": (1.0, 2.0, 3.0, 4.0)}


def cases(name, parameters):
    """The items of one test with all combinations of these parameters."""
    return [
        SimpleNamespace(
            parent=SimpleNamespace(nodeid="test_file.py"),
            originalname=name,
            callspec=SimpleNamespace(params=dict(zip(parameters, values, strict=True))),
        )
        for values in itertools.product(*(VALUES[parameter] for parameter in parameters))
    ]


def test_every_pair_of_values_occurs():
    every = cases("test_a", VALUES)
    kept = with_new_pairs(every)
    for one, other in itertools.combinations(VALUES, 2):
        found = {(item.callspec.params[one], item.callspec.params[other]) for item in kept}
        assert found == set(itertools.product(VALUES[one], VALUES[other]))
    assert len(VALUES["layout"]) * len(VALUES["dtype"]) <= len(kept) < len(every)


@pytest.mark.parametrize("parameters", [["path"], ["layout", "dtype"]])
def test_one_or_two_parameters_keep_all_their_cases(parameters):
    every = cases("test_a", parameters)
    assert with_new_pairs(every) == every


def test_another_test_has_pairs_of_its_own():
    every = cases("test_a", VALUES) + cases("test_b", VALUES)
    kept = with_new_pairs(every)
    assert [item for item in kept if item.originalname == "test_b"] == with_new_pairs(cases_of("test_b", every))


def cases_of(name, items):
    return [item for item in items if item.originalname == name]


def test_a_test_without_parameters_stays():
    item = SimpleNamespace(parent=SimpleNamespace(nodeid="test_file.py"), originalname="test_a")
    assert with_new_pairs([item]) == [item]
