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


def test_the_card_tells_what_was_aimed_at_and_what_falls_short(tmp_path):
    for name in ("figures.json", "measured.json"):
        (tmp_path / name).write_bytes((LITE_FOLDER / name).read_bytes())
    kept = json.loads((tmp_path / "measured.json").read_text(encoding="utf-8"))
    for one in kept["found"]:
        one["linear-probe"]["mean_auroc"][0] = 86.5
    (tmp_path / "measured.json").write_text(json.dumps(kept), encoding="utf-8")
    write_card(tmp_path)
    card = (tmp_path / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert (
        "| linear probe, brain_mri_tumor4, split ignored, 16 shots | 87 | 86.5 | 0.5 short |"
        in card
    )
    assert "| linear probe, oct2017_val32, 4 shots | 95 | 86.5 | 8.5 short |" in card
    assert "| linear probe, mean of the three phantoms | 86 | 86.5 |  |" in card
    assert card.count(" short |") == 5
