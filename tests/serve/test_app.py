"""The application is put together, and answers."""

from sdmad import __version__


def test_it_says_that_it_works(client, folder):
    said = client.get("/api/v1/health").json()
    assert said["status"] == "ok"
    assert said["version"] == __version__
    assert folder.with_name("images.sdmad-serve.sqlite").is_file()


def test_every_route_lists_its_refusals(client):
    paths = client.get("/api/v1/openapi.json").json()["paths"]
    for path, routes in paths.items():
        for method, route in routes.items():
            if path != "/api/v1/health":
                assert {"401", "422", "429"} <= set(route["responses"]), (method, path)
