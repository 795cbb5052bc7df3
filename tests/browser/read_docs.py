"""Opens the page of the API (`/docs/`) in headless Chromium, tries a call there, and prints what it saw as JSON.

    BROWSER_PYTHON read_docs.py PAGE_URL KEY

Runs in the environment of `scripts/dev_env.py browser`.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from playwright.sync_api import sync_playwright  # pyright: ignore[reportMissingImports]
from support.chromium import launch

LONG_MS = 60_000
MODELS = "/v1/models"


def main(page_url: str, key: str) -> None:
    """Reads it, tries the list of models without a key and with one."""
    complaints: list[str] = []
    hosts: set[str] = set()
    with sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_page()
        page.set_default_timeout(LONG_MS)

        def broke(error: Any) -> None:
            complaints.append(str(error))

        def said(message: Any) -> None:
            if message.type == "error":
                complaints.append(message.text)

        def asked(request: Any) -> None:
            if not request.url.startswith("data:"):
                hosts.add("/".join(request.url.split("/")[:3]))

        page.on("pageerror", broke)
        page.on("console", said)
        page.on("request", asked)
        page.goto(page_url)
        page.wait_for_selector(".opblock")
        operations = page.locator(".opblock").count()
        models = page.locator(".opblock", has=page.locator(f'[data-path="{MODELS}"]'))
        models.locator(".opblock-summary-control").first.click()
        models.get_by_role("button", name="Try it out").click()

        def is_of_models(answer: Any) -> bool:
            return answer.url.endswith(MODELS)

        def tried() -> int:
            with page.expect_response(is_of_models) as answer:
                models.get_by_role("button", name="Execute").click()
            return answer.value.status

        without = tried()
        page.locator(".scheme-container .authorize").click()
        page.locator(".auth-container input").fill(key)
        page.locator(".auth-container").get_by_role("button", name="Apply credentials").click()
        page.locator(".btn-done").click()
        told = {"operations": operations, "without": without, "with": tried()}
        browser.close()
    print(json.dumps({**told, "hosts": sorted(hosts), "complaints": complaints}))


if __name__ == "__main__":
    main(*sys.argv[1:])
