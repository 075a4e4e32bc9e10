"""What several tests do first."""

import re

from playwright.sync_api import expect


def scored(page):
    """Wait until every image has its findings."""
    expect(page.locator("#progress")).to_have_text(
        re.compile(r"^\d+ images scored"), timeout=120_000
    )
    page.goto("/")
    page.locator(".work tbody tr").first.wait_for()


def first_image(page, query="?text=0000"):
    """Open the first image of a list, and wait for its picture and its findings."""
    scored(page)
    page.goto(f"/{query}")
    page.locator(".work .name a").first.click()
    expect(page.locator(".stage .corner")).to_contain_text("W ")
    page.locator(".finding").first.wait_for()
    return int(page.url.split("/image/")[1].split("?")[0])
