import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import f1_score, roc_auc_score

from sdmad.errors import InputError
from sdmad.evaluation.pixels import PixelScores


def draw_masks(rng, images, size, share=0.5):
    """Discs, some of them touching or cut by the edge; a share of the images is normal."""
    y, x = np.mgrid[:size, :size]
    masks = np.zeros((images, size, size), dtype=bool)
    for mask in masks[: round(images * share)]:
        for _ in range(rng.integers(1, 4)):
            row, column = rng.integers(0, size, 2)
            mask |= np.hypot(y - row, x - column) < rng.uniform(1, size / 6)
    return masks


def draw_scores(kind, rng, masks):
    noise = rng.normal(size=masks.shape)
    signal = noise + masks
    return {
        "normal": lambda: signal.astype(np.float32),
        "double": lambda: signal,
        "half": lambda: signal.astype(np.float16),
        "skewed": lambda: np.exp(6 * signal).astype(np.float32),
        "ties": lambda: np.round(signal).astype(np.float32),
        "constant": lambda: np.full(masks.shape, 0.3, dtype=np.float32),
        "tiny range": lambda: 0.5 + 1e-6 * np.tanh(signal),
        "saturated": lambda: (1 / (1 + np.exp(-14 - 2 * signal))).astype(np.float32),
        "negative": lambda: (-50 + signal).astype(np.float32),
        "inverted": lambda: (noise - masks).astype(np.float32),
        "mostly zero": lambda: np.maximum(signal - 1.5, 0).astype(np.float32),
        "integers": lambda: np.clip(100 + 40 * signal, 0, 255).astype(np.uint8),
    }[kind]()


KINDS = (
    "normal",
    "double",
    "half",
    "skewed",
    "ties",
    "constant",
    "tiny range",
    "saturated",
    "negative",
    "inverted",
    "mostly zero",
    "integers",
)


def add_all(scores, masks, **settings):
    pixels = PixelScores(**settings)
    for score, mask in zip(scores, masks, strict=True):
        pixels.add(score, mask)
    return pixels


def exact_auroc(scores, masks):
    return roc_auc_score(masks.ravel(), scores.ravel().astype(np.float64))


def exact_aupro(scores, masks, limit=0.3, steps=None):
    """The definition written out: a threshold at a time, a region at a time."""
    thresholds = np.unique(scores)[::-1]
    if steps is not None and thresholds.size > steps:
        thresholds = thresholds[np.linspace(0, thresholds.size - 1, steps).astype(int)]
    overlaps = []
    for score, mask in zip(scores, masks, strict=True):
        found, regions = ndimage.label(mask, np.ones((3, 3)))
        for region in range(1, regions + 1):
            inside = np.sort(score[found == region])
            overlaps.append(1 - np.searchsorted(inside, thresholds) / inside.size)
    outside = np.sort(scores[~masks])
    rate = np.append(0, 1 - np.searchsorted(outside, thresholds) / outside.size)
    overlap = np.append(0, np.mean(overlaps, axis=0))
    at_limit = np.interp(limit, rate, overlap)
    kept = rate < limit
    return np.trapezoid(np.append(overlap[kept], at_limit), np.append(rate[kept], limit)) / limit


@pytest.mark.parametrize("kind", KINDS)
def test_auroc_and_aupro_agree_with_the_exact_figures(kind):
    rng = np.random.default_rng(0)
    masks = draw_masks(rng, 6, 40)
    scores = draw_scores(kind, rng, masks)
    pixels = add_all(scores, masks)
    assert pixels.auroc() == pytest.approx(exact_auroc(scores, masks), abs=1e-9)
    assert pixels.aupro() == pytest.approx(exact_aupro(scores, masks), abs=1e-9)
    assert pixels.aupro(0.05) == pytest.approx(exact_aupro(scores, masks, 0.05), abs=1e-9)
    assert pixels.error() == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.02, 0.9])
def test_thinned_summaries_stay_within_their_own_bound(kind, share):
    rng = np.random.default_rng(1)
    masks = draw_masks(rng, 50, 64, share)
    scores = draw_scores(kind, rng, masks)
    pixels = add_all(scores, masks, capacity=4096)  # 12 full buffers, four levels
    bound = pixels.error()
    if kind in ("ties", "constant", "integers"):
        assert bound == 0
    if kind in ("normal", "skewed", "negative"):
        assert 0 < bound < 0.015
    assert abs(pixels.auroc() - exact_auroc(scores, masks)) <= bound + 1e-9
    exact = exact_aupro(scores, masks, steps=20_000)
    assert abs(pixels.aupro() - exact) <= bound + 1e-4  # the thresholds of the check are spaced


def test_a_million_pixels_are_thinned_and_right_to_a_ten_thousandth():
    rng = np.random.default_rng(2)
    masks = draw_masks(rng, 40, 200)
    scores = draw_scores("skewed", rng, masks)
    pixels = add_all(scores, masks)
    assert 0 < pixels.error() < 1e-4
    assert pixels.auroc() == pytest.approx(exact_auroc(scores, masks), abs=1e-5)


def test_the_bound_is_the_share_that_may_be_misplaced():
    # 32 normal values in 8 entries: at most 5 are moved (see test_quantiles); 4 abnormal fit.
    scores = np.append(np.arange(32.0), [40, 41, 42, 43])[None]
    pixels = PixelScores(capacity=8).add(scores, scores >= 40)
    assert pixels.error(1) == 5 / 32
    assert pixels.error() == pytest.approx(5 / 32 / 0.3)
    # The other way round the abnormal mass is misplaced, whatever the limit: of the count or of
    # the shares of a region of one pixel and one of 31, whichever is more.
    turned = PixelScores(capacity=8).add(scores, (scores < 32) & (scores != 1))
    count, share = turned.abnormal.error() / [31, 2]
    assert count != share
    assert turned.error(0.1) == turned.error(1) == max(count, share)


def test_very_rare_positives():
    rng = np.random.default_rng(3)
    masks = np.zeros((30, 100, 100), dtype=bool)
    masks[4, 50, 50] = masks[9, 20, 20:23] = True
    scores = draw_scores("normal", rng, 3 * masks)
    pixels = add_all(scores, masks, capacity=16384)
    assert pixels.auroc() == pytest.approx(exact_auroc(scores, masks), abs=1e-4)
    assert pixels.regions == 2
    # Among 300,000 pixels 4 are abnormal; the few false positives above them are counted well.
    threshold, dice = pixels.best_dice()
    assert dice == pytest.approx(f1_score(masks.ravel(), scores.ravel() > threshold), rel=0.01)


def test_aupro_by_hand():
    # Regions: two corner-connected pixels .9 and .3, and one pixel .5 in the other image; four
    # normal pixels .6, .4, .2, .1. Thresholds from above: .9 gives an overlap of 1/4 at the rate
    # 0; .6 the rate 1/4; .5 an overlap of 3/4; .4 the rate 1/2.
    # Up to .3: 1/4 over .25, then 3/4 over .05.
    first, second = np.array([[0.9, 0.6], [0.4, 0.3]]), np.array([[0.5, 0.2, 0.1]])
    pixels = PixelScores().add(first, np.eye(2)).add(second, np.array([[1, 0, 0]]))
    assert pixels.regions == 2
    assert pixels.pixels == (4, 3)
    assert pixels.aupro() == pytest.approx((0.25 * 0.25 + 0.75 * 0.05) / 0.3)
    # up to 1: 1/4 over .25, 3/4 over .25 (rate .25 to .5), then .3 gives all
    assert pixels.aupro(1) == pytest.approx(0.25 * 0.25 + 0.75 * 0.25 + 0.5)
    # .9 beats 4 of 4, .5 beats 3, .3 beats 2
    assert pixels.auroc() == pytest.approx(9 / 12)


def test_a_tie_across_the_limit_is_a_slanted_piece():
    # everything ties: overlap = rate, so the area up to .3 is .3^2 / 2
    pixels = PixelScores().add(np.zeros((2, 5)), [[1, 1, 0, 0, 0], [0, 0, 0, 0, 1]])
    assert pixels.auroc() == 0.5
    assert pixels.aupro() == pytest.approx(0.15)


def test_each_region_counts_equally_whatever_its_size():
    mask = np.zeros((10, 10), dtype=bool)
    mask[:5], mask[8, 8] = True, True
    scores = np.where(mask, 1.0, 0.0)
    scores[8, 8] = -1.0
    # the large region is found at once, the small one never up to a rate of .3
    assert PixelScores().add(scores, mask).aupro() == pytest.approx(0.5)


@pytest.mark.parametrize("kind", ["normal", "ties", "saturated", "integers"])
def test_best_dice_is_the_best_of_all_thresholds(kind):
    rng = np.random.default_rng(4)
    masks = draw_masks(rng, 4, 24)
    scores = draw_scores(kind, rng, masks)
    threshold, dice = add_all(scores, masks).best_dice()
    candidates = np.append(np.unique(scores).astype(np.float64), -1e9)
    called = scores.ravel() > candidates[:, None]
    every = 2 * (called & masks.ravel()).sum(axis=1) / (called.sum(axis=1) + masks.sum())
    assert dice == pytest.approx(max(every), abs=1e-12)
    assert f1_score(masks.ravel(), scores.ravel() > threshold) == pytest.approx(dice, abs=1e-12)


def test_a_threshold_of_the_validation_images_is_exact_on_test_images():
    rng = np.random.default_rng(5)
    masks = draw_masks(rng, 40, 64)
    scores = draw_scores("normal", rng, masks)
    threshold, _ = add_all(scores[::2], masks[::2], capacity=256).best_dice()
    expected = f1_score(masks[1::2].ravel(), scores[1::2].ravel() > threshold)
    known = add_all(scores[1::2], masks[1::2], threshold=threshold, capacity=256)
    assert known.dice_at(threshold) == pytest.approx(expected, abs=1e-12)
    # at any other threshold it is read off the summaries, here of 256 entries only
    other = f1_score(masks[1::2].ravel(), scores[1::2].ravel() > 0.8)
    assert known.dice_at(0.8) == pytest.approx(other, abs=0.03)
    assert add_all(scores[1::2], masks[1::2]).dice_at(0.8) == pytest.approx(other, abs=1e-12)


def test_merged_sets_are_one_set():
    rng = np.random.default_rng(6)
    masks = draw_masks(rng, 9, 30)
    scores = draw_scores("normal", rng, masks)
    whole = add_all(scores, masks, threshold=1.0)
    parts = add_all(scores[:2], masks[:2], threshold=1.0)
    parts.merge(add_all(scores[2:], masks[2:], threshold=1.0))
    assert (parts.images, parts.regions, parts.pixels) == (9, whole.regions, whole.pixels)
    assert parts.auroc() == pytest.approx(whole.auroc(), abs=1e-12)
    assert parts.aupro() == pytest.approx(whole.aupro(), abs=1e-12)
    assert parts.dice_at(1.0) == whole.dice_at(1.0)
    with pytest.raises(InputError, match="cannot be merged"):
        parts.merge(PixelScores())


def test_merged_summaries_keep_their_bound():
    rng = np.random.default_rng(7)
    masks = draw_masks(rng, 40, 64)
    scores = draw_scores("skewed", rng, masks)
    merged = PixelScores(capacity=2048)
    for start in range(0, 40, 8):
        part = add_all(scores[start : start + 8], masks[start : start + 8], capacity=2048)
        merged.merge(part)
    assert abs(merged.auroc() - exact_auroc(scores, masks)) <= merged.error() < 0.03


def test_memory_does_not_grow_with_the_images():
    rng = np.random.default_rng(8)
    masks = draw_masks(rng, 64, 64)
    pixels = add_all(draw_scores("normal", rng, masks), masks, capacity=256)
    kept = [len(values) for values, _ in pixels.normal.entries()]
    assert max(kept) <= 256 + 2
    assert len(kept) <= 9  # 256 full buffers: at most one part a binary digit


def test_one_side_alone_has_no_figure():
    normal = PixelScores(0.5).add(np.zeros((2, 2)), np.zeros((2, 2)))
    everything = PixelScores(0.5).add(np.ones((2, 2)), np.ones((2, 2)))
    for one in (PixelScores(), normal, everything):
        assert np.isnan([one.auroc(), one.aupro()]).all()
        assert one.error() == 0
    assert np.isnan([*normal.best_dice(), normal.dice_at(0.5)]).all()
    assert everything.best_dice()[1] == everything.dice_at(0.5) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PixelScores().add([1.0, 0.0], [1, 0]), r"anomaly map 0 .* got \(2,\)"),
        (lambda: PixelScores().add([[1.0, np.nan]], [[1, 0]]), "1 of 2 values are not finite"),
        (lambda: PixelScores().add([[1.0, 0.0]], [[1], [0]]), r"mask 0 .*\(1, 2\), got \(2, 1\)"),
        (lambda: PixelScores().add([[1.0, 0.0]], [[255, 0]]), "give `mask > 0`"),
        (lambda: PixelScores().aupro(0), r"limit in \(0, 1\]"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
