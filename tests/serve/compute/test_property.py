"""The whole interface under random requests: no fault, and every answer as it is described."""

import sys
import threading

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from sdmad.cli.steps.serving import listening
from sdmad.serve.app import create_app
from sdmad.serve.compute import refits
from sdmad.serve.settings import ServeLimits, ServeSettings

EXAMPLES = 8
"""Requests of each operation."""

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def house(make_data, model_folder, tmp_path_factory):
    """A server's parts, and where it listens."""
    place = tmp_path_factory.mktemp("asked") / "images"
    table = make_data(place, 6, seed=4)
    limits = ServeLimits(requests=10**9, logins=10**9)
    started = ServeSettings((model_folder,), table=table, port=0, limits=limits)
    patch = pytest.MonkeyPatch()
    # A refit that ends at once: what a fit does is another test's.
    patch.setattr(refits, "program", lambda _: (sys.executable, "-c", ""))
    app = create_app(started)
    with listening(started) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield app.state.house, f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()
    patch.undo()


@pytest.fixture(scope="module")
def bearer(house):
    return {"Authorization": f"Bearer {house[0].token.text}"}


@pytest.fixture
def described(house, bearer):
    return schemathesis.openapi.from_url(f"{house[1]}/api/v1/openapi.json", headers=bearer)


BOUNDED = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def bring_near(case):
    """Have most numbers in a path be those of things that there are."""
    for name, value in case.path_parameters.items():
        if isinstance(value, int) and value % 4:
            case.path_parameters[name] = value % 4
    if case.path_parameters.get("category"):
        case.path_parameters["category"] = "Ring"


def test_nothing_is_a_fault(described, bearer):
    seen = []
    for found in described.get_all_operations():
        operation = found.ok()

        @BOUNDED
        @given(case=operation.as_strategy())
        def run(case):
            bring_near(case)
            answer = case.call(headers=bearer)
            case.validate_response(answer, checks=CHECKS)

        run()
        seen.append(f"{operation.method.upper()} {operation.path}")
    assert "POST /api/v1/predict" in seen
    assert len(seen) > 25
