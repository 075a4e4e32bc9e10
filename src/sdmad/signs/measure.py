"""What a backbone makes of a bank's signs before any training, in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from sdmad.backbones import Backbone
from sdmad.errors import InputError
from sdmad.evaluation.metrics import category_auroc, mean_of_defined
from sdmad.method.selection import select_signs, sign_margins
from sdmad.signs.bank import SignBank
from sdmad.table import Table, percent

MOST_SIGNS = 3_000
"""Signs that are compared with each other; the matrix of their cosines grows with the square."""


@dataclass(frozen=True)
class SignMeasures:
    """The signs of a bank in a backbone's text space.

    Attributes:
        bank: whose signs they are.
        cosine: of each sign with each, shape ``(S, S)``.
        own: distance to the nearest other sign of the category (``D_inf`` of Definition 3.2), shape
            ``(S,)``; infinite for an only sign.
        foreign: distance to the nearest sign of another category, shape ``(S,)``; infinite when
            there is none.
        nearest_foreign: index of that sign, shape ``(S,)``; -1 when there is none.
        keep: signs that Eq. 6 keeps, shape ``(S,)``, boolean.
        tokens: of each sign, start and end included, shape ``(S,)``.
        context_length: tokens that the text encoder reads.
        auroc: how well each sign alone ranks images for its category, shape ``(S,)``; NaN where it
            is not known.
    """

    bank: SignBank
    cosine: NDArray[np.float64]
    own: NDArray[np.float64]
    foreign: NDArray[np.float64]
    nearest_foreign: NDArray[np.int64]
    keep: NDArray[np.bool_]
    tokens: NDArray[np.int64]
    context_length: int
    auroc: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        if self.auroc.size == 0:
            object.__setattr__(self, "auroc", np.full(len(self.keep), np.nan))

    def sign_table(self) -> Table:
        """One row a sign."""
        judged = not np.isnan(self.auroc).all()
        rows = []
        for s, sentence in enumerate(self.bank.sentences):
            near = int(self.nearest_foreign[s])
            cut = " (cut)" if self.tokens[s] > self.context_length else ""
            rows.append(
                (
                    self._owner(s),
                    sentence,
                    _distance(self.own[s]),
                    _distance(self.foreign[s]),
                    f"{self.bank.sentences[near]} ({self._owner(near)})" if near >= 0 else "",
                    "kept" if self.keep[s] else "discarded",
                    f"{self.tokens[s]}{cut}",
                    *((percent(self.auroc[s]),) if judged else ()),
                )
            )
        header = ("Category", "Sign", "Own", "Foreign", "Nearest foreign sign", "Eq. 6", "Tokens")
        return Table(
            f"{self.bank.name}: signs before any training",
            (*header, *(("AUROC",) if judged else ())),
            tuple(rows),
            "Own, Foreign: 1 - cosine to the nearest sign of the same and of another category. "
            "Eq. 6 discards a sign that is not nearer to its own."
            + (" AUROC: the sign alone, for its category, in percent." if judged else ""),
        )

    def category_table(self) -> Table:
        """One row a category: how many signs are discarded, how much they repeat each other."""
        judged = not np.isnan(self.auroc).all()
        index = np.array(self.bank.category_index)
        rows = []
        for k, name in enumerate(self.bank.names):
            mine = index == k
            within = self.cosine[np.ix_(mine, mine)]
            pairs = within[np.triu_indices(len(within), 1)]
            auroc = self.auroc[mine]
            best = np.nan if np.isnan(auroc).all() else float(np.nanmax(auroc))
            rows.append(
                (
                    name,
                    f"{mine.sum()}",
                    f"{(~self.keep[mine]).sum()}",
                    f"{(self.tokens[mine] > self.context_length).sum()}",
                    _mean(pairs),
                    _mean(self.cosine[np.ix_(mine, ~mine)]),
                    *((percent(mean_of_defined(auroc)), percent(best)) if judged else ()),
                )
            )
        header = ("Category", "Signs", "Discarded", "Cut", "Cosine within", "Cosine to others")
        return Table(
            f"{self.bank.name}: categories before any training",
            (*header, *(("Mean AUROC", "Best AUROC") if judged else ())),
            tuple(rows),
            "Mean cosines between different signs. Near 1 within a category: its signs repeat each "
            "other. No higher within than to others: the backbone does not tell it apart.",
        )

    def _owner(self, sign: int) -> str:
        return self.bank.names[self.bank.category_index[sign]]


def measure_signs(bank: SignBank, backbone: Backbone) -> SignMeasures:
    """Measure a bank's signs in a backbone's text space (Definition 3.2, Eq. 6).

    Args:
        bank: the signs.
        backbone: the model, without adapters.

    Raises:
        InputError: if the bank has too many signs to compare them all.
    """
    count = len(bank.sentences)
    if count > MOST_SIGNS:
        raise InputError(
            f"bank {bank.name!r} has {count:,} signs; at most {MOST_SIGNS:,} can be compared"
        )
    features = backbone.encode_text(bank.sentences)
    category = torch.tensor(bank.category_index, device=features.device)
    margins = sign_margins(features, category)
    return SignMeasures(
        bank,
        (features @ features.T).double().cpu().numpy(),
        margins.own.double().cpu().numpy(),
        margins.foreign.double().cpu().numpy(),
        margins.nearest_foreign.cpu().numpy(),
        select_signs(features, category).cpu().numpy(),
        np.array(backbone.token_counts(bank.sentences)),
        backbone.context_length,
    )


def sign_auroc(
    labels: ArrayLike, similarity: ArrayLike, category: Sequence[int]
) -> NDArray[np.float64]:
    """How well each sign alone ranks images for its category.

    Args:
        labels: 1, 0 or NaN, shape ``(n, K)``.
        similarity: cosine of each image with each sign, shape ``(n, S)``; a row with NaN, an image
            that could not be read, is left out.
        category: index of each sign's category, S of them.

    Returns:
        AUROC, shape ``(S,)``; NaN where a category has fewer than two positives or negatives.

    Raises:
        InputError: if a shape does not fit.
    """
    values = np.asarray(similarity, dtype=np.float64)
    read = ~np.isnan(values).any(axis=1)
    truth = np.asarray(labels, dtype=np.float64)[:, list(category)]
    return category_auroc(truth[read], values[read])


def _distance(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "n/a"


def _mean(values: NDArray[np.float64]) -> str:
    return f"{values.mean():.2f}" if values.size else "n/a"
