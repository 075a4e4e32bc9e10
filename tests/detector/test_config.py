"""Settings: their ranges, and what a decision rule may be."""

import copy
import inspect
import pickle

import pytest

from sdmad import SDMADConfig
from sdmad.detector.config import RANGES, parse_decision
from sdmad.errors import InputError


@pytest.mark.parametrize("name", RANGES)
def test_a_number_out_of_its_range_is_refused(name):
    low, high = RANGES[name]
    for end in (low, high):
        assert getattr(SDMADConfig(**{name: end}), name) == end
    whole = isinstance(low, int)
    for wrong in (low - 1, high + 1, float("nan"), True, "1", None, *([2.5] if whole else [])):
        with pytest.raises(InputError, match=rf"{name} must"):
            SDMADConfig(**{name: wrong})


@pytest.mark.parametrize("name", ["image_blocks", "text_blocks"])
def test_blocks_ascend_from_one(name):
    assert getattr(SDMADConfig(**{name: [1, 3]}), name) == (1, 3)
    for wrong in ((), (0, 1), (2, 1), (2, 2), (True, 2), (1.0,), 3, "12"):
        with pytest.raises(InputError, match=f"{name} must be ascending"):
            SDMADConfig(**{name: wrong})


@pytest.mark.parametrize("name", ["activation", "selection", "pooling", "image_evidence"])
def test_a_choice_that_is_none_is_refused(name):
    with pytest.raises(InputError, match=f"{name} must be one of"):
        SDMADConfig(**{name: "median"})


@pytest.mark.parametrize("rule", ["fpr:0", "fpr:1", "fpr:-0.1", "fpr:x", "fpr", "tpr:0.1", "max"])
def test_a_decision_rule_that_is_none_is_refused(rule):
    with pytest.raises(InputError, match="decision rule"):
        parse_decision(rule)


def test_the_papers_settings_are_the_papers():
    said = SDMADConfig.paper().to_dict()
    assert {name: said[name] for name in ("bottleneck", "lam", "margin", "image_text_weight")} == {
        "bottleneck": 0.75,
        "lam": 0.8,
        "margin": 0,
        "image_text_weight": 1,
    }
    assert (said["learning_rate"], said["batch_size"], said["epochs"]) == (0.001, 8, 50)
    assert (said["selection"], said["pooling"], said["decision"]) == ("paper", "max", "paper")
    assert (said["activation"], said["image_evidence"]) == ("leaky_relu", "none")
    assert said["image_blocks"] is said["text_blocks"] is None


def test_a_misspelt_setting_is_told_with_its_neighbour():
    for make in (SDMADConfig, SDMADConfig.paper, SDMADConfig().replace):
        with pytest.raises(InputError, match="'margn'; did you mean margin"):
            make(margn=0.1)
    with pytest.raises(InputError, match="'epoch'; did you mean epochs"):
        SDMADConfig(epoch=3)
    with pytest.raises(InputError, match="'qwertz'; there are image_blocks, "):
        SDMADConfig(qwertz=3)


def test_the_signature_names_every_setting():
    names = tuple(inspect.signature(SDMADConfig).parameters)
    assert names == tuple(SDMADConfig().to_dict())
    assert copy.deepcopy(SDMADConfig(epochs=3)) == pickle.loads(pickle.dumps(SDMADConfig(epochs=3)))
