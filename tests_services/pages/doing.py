"""What several tests do first."""

from playwright.sync_api import expect


def first_image(page, query="?text=0000"):
    """Open the first image of a list, and wait for its picture and its findings."""
    page.goto(f"/{query}")
    page.locator(".work .name a").first.click()
    expect(page.locator(".stage .corner")).to_contain_text("W ")
    page.locator(".finding").first.wait_for()
    return int(page.url.split("/image/")[1].split("?")[0])
