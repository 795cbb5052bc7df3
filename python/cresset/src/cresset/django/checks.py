"""System checks: `manage.py check` finds what is wrong before a visitor does. Only `cresset_check` asks the server."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks

from cresset.django import conf


def register() -> None:
    """Have Django run them."""
    checks.register(check_setting, "cresset")
    checks.register(check_transport, "cresset", deploy=True)


def check_setting(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Look at the setting."""
    if not hasattr(settings, conf.NAME):
        default = conf.Settings().url
        hint = f'{conf.NAME} = {{"URL": "{default}"}}'
        return [checks.Warning(f"{conf.NAME} is not set; {default} is used", hint=hint, id="cresset.W001")]
    value = getattr(settings, conf.NAME)
    return [checks.Error(wrong.message, hint=wrong.hint, id=wrong.id) for wrong in conf.mistakes(value)]


def check_transport(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Look at what matters where the site is deployed."""
    value = getattr(settings, conf.NAME, {})
    return [] if list(conf.mistakes(value)) else list(_deployed(conf.get()))


def _deployed(read: conf.Settings) -> Iterator[checks.CheckMessage]:
    url = urlsplit(read.url)
    if url.scheme == "http" and read.key and not _is_near(url.hostname or ""):
        yield checks.Warning(
            f"the key goes to {url.hostname} in clear text",
            hint="use https, or a private address, or a tunnel",
            id="cresset.W002",
        )


def _is_near(host: str) -> bool:
    """Tell whether an address is of this machine or of a private network. A name is not looked up."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return host == "localhost" or "." not in host
