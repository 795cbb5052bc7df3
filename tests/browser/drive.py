"""Opens a page in headless Chromium that follows tasks of a Cresset server, and prints what it saw.

    BROWSER_PYTHON drive.py PAGE_URL SERVER_URL [KEY]

A line `started` when the page follows, then, once all tasks have ended for it, a line of JSON with everything. Runs in
an environment of its own (`scripts/dev_env.py browser`): what drives a browser is no business of other tests.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from playwright.sync_api import sync_playwright  # pyright: ignore[reportMissingImports]
from support.chromium import launch

LONG_MS = 60_000


def main(page_url: str, server_url: str, key: str = "") -> None:
    """Opens the page, tells of its steps, and what it wrote down."""
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_page()

        def broke(error: Any) -> None:
            complaints.append(str(error))

        page.on("pageerror", broke)
        page.goto(page_url)
        page.evaluate("([server, key]) => begin(server, key)", [server_url, key])
        page.wait_for_function("seen.started || seen.failed", timeout=LONG_MS)
        print("started", flush=True)
        page.wait_for_function("seen.done || seen.failed", timeout=LONG_MS)
        seen = page.evaluate("seen")
        browser.close()
    print(json.dumps({**seen, "complaints": complaints}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
