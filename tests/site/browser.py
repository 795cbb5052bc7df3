"""Drives the example site's page in headless Chromium, and prints what it saw as JSON.

    BROWSER_PYTHON browser.py URL IMAGE SCREENSHOT

Runs in an environment of its own (`scripts/dev_env.py browser`): what drives a browser is no business of other tests.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from playwright.sync_api import (  # pyright: ignore[reportMissingImports]
    expect,
    sync_playwright,
)
from support.chromium import launch

LONG = 30_000
SAMPLES = 5


def answer(page: Any) -> int:
    """The digit that the page shows, once it does."""
    digit = page.locator("#answer .digit")
    expect(digit).to_have_count(1, timeout=LONG)
    shown = int(digit.inner_text())
    page.locator("#clear").click()
    expect(page.locator("#answer")).to_be_empty()
    return shown


def main(url: str, image: str, screenshot: str) -> None:
    """Looks at the page as a visitor would."""
    seen: dict[str, Any] = {"complaints": [], "streams": 0, "polls": 0}
    with sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_page(viewport={"width": 900, "height": 860})

        def complain(told: Any) -> None:
            if told.type == "error":
                seen["complaints"].append(told.text)

        def broke(error: Any) -> None:
            seen["complaints"].append(str(error))

        page.on("console", complain)
        page.on("pageerror", broke)

        def count(request: Any) -> None:
            seen["streams"] += request.url.endswith("/events")
            seen["polls"] += "wait=" in request.url

        page.on("request", count)
        page.goto(url)
        expect(page.locator("body")).to_have_attribute("data-ready", "yes", timeout=LONG)

        # Digits to click on; a stroke of one's own; a file.
        seen["samples"] = []
        for number in range(SAMPLES):
            page.locator("#thumbs canvas").nth(number).click()
            seen["samples"].append(answer(page))
        box = page.locator("#canvas").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 128, box["y"] + 30)
        page.mouse.down()
        page.mouse.move(box["x"] + 128, box["y"] + 226, steps=12)
        page.mouse.up()
        page.locator("#ask").click()
        seen["stroke"] = answer(page)
        page.locator("#file").set_input_files(image)
        seen["upload"] = answer(page)

        # Without events the page polls, and shows the same.
        seen["streams_before"] = seen["streams"]
        page.evaluate("window.EventSource = undefined")
        page.locator("#thumbs canvas").nth(1).click()
        seen["polled"] = answer(page)

        page.locator("#thumbs canvas").nth(2).click()
        expect(page.locator("#answer .digit")).to_have_count(1, timeout=LONG)
        page.screenshot(path=screenshot)
        browser.close()
    print(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
