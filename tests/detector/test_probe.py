import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from sdmad.detector.probe import LinearProbe


def test_the_probe_leaves_unknown_labels_out_and_marks_what_it_cannot_learn():
    features = torch.nn.functional.normalize(torch.randn(8, 5, generator=torch.manual_seed(0)))
    labels = np.zeros((8, 3))
    labels[:4, 0] = 1
    labels[:, 1] = np.nan
    labels[:2, 1] = 1
    probe = LinearProbe.fit(features, labels)
    assert probe.learnt.tolist() == [True, False, False]
    odds = probe(features)
    assert odds.shape == (8, 3)
    assert odds[:4, 0].min() > odds[4:, 0].max()
    assert (odds[:, 2] == odds[0, 2]).all()
    shuffled = LinearProbe.fit(
        torch.cat([features, features[:3]]), np.vstack([labels, np.full((3, 3), np.nan)])
    )
    torch.testing.assert_close(shuffled.weights, probe.weights)


def test_the_log_odds_are_scikit_learns_on_features_of_unit_variance():
    features = torch.nn.functional.normalize(torch.randn(20, 9, generator=torch.manual_seed(1)))
    labels = (features[:, :2] > 0.1).double().numpy()
    scaled = features.double().numpy()
    scaled = (scaled - scaled.mean(axis=0)) / np.sqrt(scaled.var(axis=0).mean())
    for strength in (1.0, 0.1):
        given = {} if strength == 1 else {"regularisation": strength}
        odds = LinearProbe.fit(features, labels, **given)(features).numpy()
        for k in range(2):
            model = LogisticRegression(C=1 / strength, max_iter=1000).fit(scaled, labels[:, k])
            np.testing.assert_allclose(odds[:, k], model.decision_function(scaled), atol=1e-4)


def test_where_a_part_lies_and_how_long_it_is_changes_nothing():
    features = torch.randn(20, 9, generator=torch.manual_seed(2))
    labels = (features[:, :1] > 0.1).double().numpy()
    odds = LinearProbe.fit(features, labels, parts=(4, 5))(features)
    moved = features.clone()
    moved[:, :4] = 50 * moved[:, :4] + 7
    again = LinearProbe.fit(moved, labels, parts=(4, 5))(moved)
    torch.testing.assert_close(again, odds, atol=1e-2, rtol=1e-2)
    whole = LinearProbe.fit(moved, labels)(moved)
    assert not torch.allclose(whole, odds, atol=0.1)


def test_a_part_in_which_all_images_are_alike_is_no_harm():
    features = torch.cat([torch.randn(12, 3, generator=torch.manual_seed(3)), torch.ones(12, 2)], 1)
    labels = (features[:, :1] > 0).double().numpy()
    assert LinearProbe.fit(features, labels, parts=(3, 2))(features).isfinite().all()
