"""What several tests do first."""

from playwright.sync_api import expect


def first_image(page, query="?text=0000"):
    """Open the first image of a list, and wait for its picture and its findings.

    What was said of it before is undone. Gives its number.
    """
    page.goto(f"/{query}")
    address = page.locator(".work .name a").first.get_attribute("href")
    image = int(address.removeprefix("/image/").split("?")[0])
    forget(page, image)
    page.goto(address)
    expect(page.locator(".stage .corner")).to_contain_text("W ")
    page.locator(".finding").first.wait_for()
    return image


def forget(page, image):
    """Undo all that was said of an image."""
    token = page.request.get("/api/v1/me").json()["csrf"]
    for reading in page.request.get(f"/api/v1/images/{image}/readings").json():
        if not reading["undone"]:
            undo = f"/api/v1/readings/{reading['id']}/undo"
            assert page.request.post(undo, headers={"X-CSRF-Token": token}).ok
