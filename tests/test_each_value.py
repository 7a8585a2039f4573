"""What --each-value leaves out."""

import itertools
from types import SimpleNamespace

from conftest import with_new_values

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


def test_every_value_occurs():
    every = cases("test_a", VALUES)
    kept = with_new_values(every)
    for parameter, values in VALUES.items():
        assert {item.callspec.params[parameter] for item in kept} == set(values)
    assert max(map(len, VALUES.values())) <= len(kept) < sum(map(len, VALUES.values()))


def test_one_parameter_keeps_all_its_cases():
    every = cases("test_a", ["layout"])
    assert with_new_values(every) == every


def test_another_test_has_values_of_its_own():
    every = cases("test_a", VALUES) + cases("test_b", VALUES)
    kept = with_new_values(every)
    assert [item for item in kept if item.originalname == "test_b"] == with_new_values(cases_of("test_b", every))


def cases_of(name, items):
    return [item for item in items if item.originalname == name]


def test_a_test_without_parameters_stays():
    item = SimpleNamespace(parent=SimpleNamespace(nodeid="test_file.py"), originalname="test_a")
    assert with_new_values([item]) == [item]
