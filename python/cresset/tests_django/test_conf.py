"""The setting, its checks, and the clients that come of it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from cresset.django import async_client, checks, client, conf, get_async_client, get_client
from cresset.testing import MockServer


def test_what_is_set_is_read(settings):
    settings.CRESSET = {
        "URL": "https://inference.example",
        "TIMEOUT": timedelta(seconds=3),
        "MODELS": ["a"],
        "ACCEL": "/_c/",
    }
    read = conf.get()
    assert (read.url, read.timeout, read.models, read.accel) == ("https://inference.example", 3.0, ("a",), "/_c")
    settings.CRESSET = {}
    assert conf.get() == conf.Settings()


@pytest.mark.parametrize(
    ("value", "identifier", "message", "hint"),
    [
        ([], "cresset.E001", "is a list", '{"URL": "http://..."}'),
        ({"url": "http://h"}, "cresset.E002", "no key 'url'", "did you mean 'URL'?"),
        ({"TIMEOUTS": 3}, "cresset.E002", "no key 'TIMEOUTS'", "did you mean 'TIMEOUT'?"),
        ({"URL": "h:80"}, "cresset.E003", "CRESSET['URL'] cannot be 'h:80'", "a URL such as"),
        ({"TIMEOUT": -1}, "cresset.E003", "cannot be -1", "seconds, or a timedelta"),
        ({"TIMEOUT": True}, "cresset.E003", "cannot be True", "seconds"),
        ({"MAX_WAIT": 600}, "cresset.E003", "cannot be 600", "of at most 60 s"),
        ({"RETRIES": 1.5}, "cresset.E003", "cannot be 1.5", "whole number"),
        ({"HEADERS": {"a": 1}}, "cresset.E003", "cannot be {'a': 1}", "a dict of texts"),
        ({"MODELS": "digits"}, "cresset.E003", "cannot be 'digits'", '["digits"]'),
        ({"ACCEL": "cresset"}, "cresset.E003", "cannot be 'cresset'", "internal location"),
        ({"WEBHOOK_SECRET": []}, "cresset.E003", "cannot be its value", "whsec_..."),
        ({"KEY": "a\nb"}, "cresset.E003", "cannot be its value", "without line breaks"),
    ],
)
def test_a_mistake_is_told_by_check_and_by_the_first_use(settings, db, value, identifier, message, hint):
    settings.CRESSET = value
    (found,) = checks.check_setting()
    assert found.id == identifier
    assert message in found.msg
    assert hint in found.hint
    with pytest.raises(SystemCheckError, match=identifier):
        call_command("check")
    with pytest.raises(ImproperlyConfigured) as raised:
        get_client()
    assert message in str(raised.value)
    assert hint in str(raised.value)


def test_every_mistake_is_told_at_once_and_no_secret_is(settings):
    settings.CRESSET = {"KEY": "hush\n", "RETRIES": None, "WHAT": 1}
    found = checks.check_setting()
    assert len(found) == 3
    assert "hush" not in str(found)


def test_a_site_without_the_setting_is_warned(settings):
    del settings.CRESSET
    (found,) = checks.check_setting()
    assert found.id == "cresset.W001"
    assert "http://127.0.0.1:8700" in found.msg


@pytest.mark.parametrize(
    ("url", "warned"), [("http://gpu.example.com", True), ("http://10.0.0.7", False), ("https://g.example.com", False)]
)
def test_a_key_in_clear_text_over_the_internet_is_warned_of(settings, url, warned):
    settings.CRESSET = {"URL": url, "KEY": "k"}
    assert [found.id for found in checks.check_transport()] == (["cresset.W002"] if warned else [])


def test_a_client_is_made_once_and_again_when_the_setting_changes(settings):
    settings.CRESSET = {"URL": "http://127.0.0.1:11"}
    first = get_client()
    assert get_client() is first
    assert repr(first) == "Client('http://127.0.0.1:11')"
    settings.CRESSET = {"URL": "http://127.0.0.1:12"}
    assert repr(get_client()) == "Client('http://127.0.0.1:12')"
    assert client.submit.__self__ is get_client()


def test_threads_get_the_same_client(settings):
    settings.CRESSET = {"URL": "http://127.0.0.1:13"}
    barrier, found = threading.Barrier(8), []

    def look():
        barrier.wait()
        found.append(get_client())

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(one) for one in found}) == 1


def test_each_event_loop_has_its_own():
    async def look():
        assert get_async_client() is get_async_client()
        assert async_client.submit.__self__ is get_async_client()
        return get_async_client()

    assert asyncio.run(look()) is not asyncio.run(look())
    with pytest.raises(RuntimeError, match="no running event loop"):
        get_async_client()


def test_the_key_is_sent(settings):
    seen = []

    class Spy(MockServer):
        def client(self, **options):
            seen.append(options)
            return super().client(**options)

    settings.CRESSET = {"KEY": "k1", "HEADERS": {"x-team": "shop"}, "TIMEOUT": 4, "RETRIES": 1}
    from cresset.django._clients import made_by

    with made_by(Spy({})):
        get_client()
    assert seen == [
        {"timeout": 4, "retries": 1, "headers": {"x-team": "shop", "authorization": "Bearer k1"}},
    ]


def test_a_child_makes_its_own():
    parent = get_client()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, b"other" if get_client() is not parent else b"same")
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    assert os.read(read, 10) == b"other"
    os.close(read)
    assert get_client() is parent


def test_importing_does_nothing_heavy():
    code = (
        "import sys, cresset; assert 'django' not in sys.modules; import cresset.django\n"
        "heavy = {'torch', 'numpy', 'httpx', 'django.db', 'rest_framework'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_wrong_name_is_an_attribute_error():
    import cresset.django

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        cresset.django.nothing
