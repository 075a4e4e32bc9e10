import numpy as np
import torch

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
