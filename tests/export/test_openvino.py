import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("openvino", reason="needs the extra sdmad[openvino]")

from sdmad.export.openvino import converted, joined
from sdmad.export.runtime import compiled


class Product(nn.Module):
    """A matrix product in bfloat16."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 3, dtype=torch.bfloat16)

    def forward(self, values):
        return self.inner(values.to(torch.bfloat16)).float()


def test_a_graph_keeps_its_weights_when_the_torch_module_is_gone():
    module, values = Product(), torch.rand(5, 4)
    with torch.no_grad():
        expected = module(values).numpy()
    model = converted(module, (4,), "values")
    for parameter in module.parameters():
        parameter.data.fill_(float("nan"))  # as if the memory had been given away
    model.outputs[0].get_tensor().set_names({"out"})
    assert compiled(model)({"values": values.numpy()})["out"] == pytest.approx(expected, abs=1e-2)


def test_joined_graphs_run_one_after_the_other():
    first, second = nn.Linear(4, 3), nn.Linear(3, 2)
    model = joined(converted(first, (4,), "values"), converted(second, (3,), "between"))
    model.outputs[0].get_tensor().set_names({"out"})
    values = torch.rand(6, 4)
    with torch.no_grad():
        expected = second(first(values)).numpy()
    found = compiled(model)({"values": values.numpy()})["out"]
    assert found == pytest.approx(expected, abs=1e-6)
    assert np.isfinite(found).all()
