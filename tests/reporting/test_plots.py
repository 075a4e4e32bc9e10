import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from sdmad.errors import InputError
from sdmad.reporting import plots

NAN = float("nan")


def roc_case(categories):
    rng = np.random.default_rng(0)
    labels = (rng.random((60, categories)) < 0.3).astype(float)
    labels[:2], labels[2:4] = 1, 0
    return labels, labels + rng.normal(size=labels.shape)


def heatmap_case(signs=6):
    rng = np.random.default_rng(1)
    names = [f"c{j * 3 // signs}" for j in range(signs)]
    groups = ["c1", "normal", "c0", "c2", "c0"]
    values = rng.uniform(-1, 1, (2, 5, signs))
    return values[0], values[1], groups, [f"sign {j}" for j in range(signs)], names


def size(png):
    with Image.open(io.BytesIO(png)) as picture:
        return picture.size


def test_roc_plot_of_fourteen_categories_with_awkward_names():
    labels, scores = roc_case(14)
    labels[:, 3] = NAN
    names = [f"c{k}" for k in range(12)] + ["_hidden $x^{$", "<script>"]
    picture = plots.roc_plot(labels, scores, names)
    assert min(size(picture)) > 400
    svg = plots.roc_plot(labels, scores, names, "svg")
    assert ET.fromstring(svg).tag.endswith("svg")


@pytest.mark.parametrize("categories", [2, 14, 30])
def test_the_legend_is_not_cut(categories):
    """Beside the longest names white is left at every edge."""
    names = [f"W{k:02d}WWWWWWWWWWWWWWWWWWWWWWWWWWWW" for k in range(categories)]
    png = plots.roc_plot(*roc_case(categories), names)
    picture = np.asarray(Image.open(io.BytesIO(png)).convert("L"))
    for edge in (picture[:3], picture[-3:], picture[:, -3:]):
        assert edge.min() == 255


def test_lines_differ_in_colour_or_dash():
    styles = {
        (plots.PALETTE[k % len(plots.PALETTE)], str(plots.DASHES[k // len(plots.PALETTE)]))
        for k in range(28)
    }
    assert len(styles) == 28


@pytest.mark.parametrize("image_format", ["png", "svg"])
def test_same_data_same_bytes(image_format):
    labels, scores = roc_case(2)
    first, second = (plots.roc_plot(labels, scores, "ab", image_format) for _ in range(2))
    assert first == second


def test_long_curves_are_thinned_but_keep_their_ends():
    rng = np.random.default_rng(2)
    truth = (rng.random(5000) < 0.5).astype(float)
    x, y = plots._curve(truth, rng.random(5000))
    assert x.size <= 400
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert (np.diff(x) >= 0).all()


def test_heatmap_orders_images_and_signs_by_category():
    groups = ["c1", "normal", "c0", "c2", "c0"]
    rows, columns = plots._heatmap_order(groups, ["c0", "c1", "c0", "c2"])
    assert [groups[i] for i in rows] == ["c0", "c0", "c1", "c2", "normal"]
    assert list(columns) == [0, 2, 1, 3]


@pytest.mark.parametrize("signs", [3, 60, 150])
def test_heatmap_is_drawn(signs):
    kept = np.arange(signs) % 2 == 0
    assert min(size(plots.similarity_heatmap(*heatmap_case(signs), kept))) > 400


def test_the_heatmap_grows_with_its_signs_so_that_they_can_be_read():
    """A row has room for letters of 9 points: 150 pixels an inch, 72 points an inch."""
    heights = [size(plots.similarity_heatmap(*heatmap_case(s), np.ones(s)))[1] for s in (40, 80)]
    assert (heights[1] - heights[0]) / 40 > 1.2 * 9 * 150 / 72


def test_a_model_that_was_not_trained_has_one_panel():
    before, after, *rest = heatmap_case(6)
    kept = np.ones(6, bool)
    wide, narrow = (size(plots.similarity_heatmap(b, after, *rest, kept)) for b in (before, None))
    assert wide == narrow
    with pytest.raises(InputError, match=r"^similarity: expected shape \(5, 6\)"):
        plots.similarity_heatmap(None, after[:, 1:], *rest, kept)


def test_many_images_are_thinned_evenly():
    rows, _ = plots._heatmap_order(["a"] * 300 + ["b"] * 900, ["a", "b"])
    assert rows.size == 400
    assert abs((rows < 300).sum() - 100) <= 1


def test_loss_plot_of_one_epoch():
    assert min(size(plots.loss_plot([0.5]))) > 200


def test_wrong_shapes_are_named():
    before, after, groups, labels, names = heatmap_case()
    with pytest.raises(InputError, match=r"after training: expected shape \(5, 6\)"):
        plots.similarity_heatmap(before, after[:, 1:], groups, labels, names, np.ones(6))
    with pytest.raises(InputError, match="6 sign categories and kept marks, got 6 and shape"):
        plots.similarity_heatmap(before, after, groups, labels, names, np.ones(5))
    with pytest.raises(InputError, match="expected images and signs"):
        plots.similarity_heatmap(np.zeros((0, 6)), np.zeros((0, 6)), [], labels, names, np.ones(6))
    with pytest.raises(InputError, match="expected 2 names, got 1"):
        plots.roc_plot(*roc_case(2), ["a"])
    with pytest.raises(InputError, match="losses"):
        plots.loss_plot([])
