import math

import torch

from pretraining.objective import contrastive_loss, pairwise_loss, present_loss


def test_contrast_of_one_true_and_one_false_pair_by_hand():
    # One image, two sentences: logits 2 (true) and 1 (false). The row gives softplus(1 - 2).
    # Each column holds one pair: nothing to contrast with, so the way back gives 0.
    logits = torch.tensor([[2.0, 1.0]])
    truth = torch.tensor([[True, False]])
    assert torch.isclose(
        contrastive_loss(logits, truth), torch.tensor(math.log1p(math.exp(-1)) / 2)
    )


def test_true_pairs_never_compete():
    truth = torch.tensor([[True, True, False]])
    before = contrastive_loss(torch.tensor([[2.0, 0.0, 1.0]]), truth)
    rows = (math.log1p(math.exp(-1)) + math.log1p(math.exp(1))) / 2
    assert torch.isclose(before, torch.tensor(rows / 2))


def test_contrast_is_finite_where_everything_is_true():
    logits = torch.ones(2, 3, requires_grad=True)
    loss = contrastive_loss(logits, torch.ones(2, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(logits.grad).all()


def test_pairs_weigh_true_and_false_the_same():
    # One true pair at logit 0 (log 2) and three false ones at logit 0 (log 2 each).
    logits = torch.zeros(1, 4)
    truth = torch.tensor([[True, False, False, False]])
    assert torch.isclose(pairwise_loss(logits, truth), torch.tensor(math.log(2)))
    wrong = pairwise_loss(torch.tensor([[-2.0, 0.0, 0.0, 0.0]]), truth)
    expected = (math.log1p(math.exp(2)) + math.log(2)) / 2
    assert torch.isclose(wrong, torch.tensor(expected))


def test_present_positives_weigh_four_times():
    logits = torch.zeros(2)
    assert torch.isclose(
        present_loss(logits, torch.tensor([True, False])), torch.tensor(5 * math.log(2) / 2)
    )
