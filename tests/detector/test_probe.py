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


def test_the_log_odds_are_scikit_learns_on_embeddings_of_unit_variance():
    features = torch.nn.functional.normalize(torch.randn(20, 9, generator=torch.manual_seed(1)))
    labels = (features[:, :2] > 0.1).double().numpy()
    scaled = 3 * features.double().numpy()  # the root of nine numbers
    for strength in (1.0, 0.1):
        given = {} if strength == 1 else {"regularisation": strength}
        odds = LinearProbe.fit(features, labels, **given)(features).numpy()
        for k in range(2):
            model = LogisticRegression(C=1 / strength, max_iter=1000).fit(scaled, labels[:, k])
            np.testing.assert_allclose(odds[:, k], model.decision_function(scaled), atol=1e-4)
