"""The embedded backbone's card: what is below a mark is named with its reason."""

import json

import pytest

from pretraining.card import reasons, weak_signs, write_card
from sdmad.backbones import LITE_FOLDER


@pytest.fixture(scope="module")
def figures():
    return json.loads((LITE_FOLDER / "figures.json").read_text(encoding="utf-8"))


def test_a_sign_is_weak_by_the_better_of_both_ways(figures):
    judged = figures["test"]["brain"]
    worse = json.loads(json.dumps(figures))
    sign = "solid_mass"
    assert (sign, judged["patches"][sign] > 0.7) == (sign, True)
    worse["test"]["brain"]["held_out"][sign] = 0.5
    assert sign not in [one[1] for one in weak_signs(worse)]
    worse["test"]["brain"]["patches"][sign] = 0.69
    assert ("brain", sign, 0.5, 0.69) in weak_signs(worse)
    worse["test"]["brain"]["patches"]["thick_falx"] = 0.4  # never drawn
    assert "thick_falx" not in [one[1] for one in weak_signs(worse)]


def test_every_weak_sign_has_its_reason(figures):
    known = reasons()
    for name, sign, *_ in weak_signs(figures):
        assert known[name][sign]


def test_the_card_is_what_its_figures_make(tmp_path):
    for name in ("figures.json", "measured.json"):
        (tmp_path / name).write_bytes((LITE_FOLDER / name).read_bytes())
    write_card(tmp_path)
    made = (tmp_path / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert made == (LITE_FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
