"""Tasks of the site, for Django's own framework."""

from __future__ import annotations

from django.tasks import task

BACKEND = "default"


@task(queue_name="upper", backend=BACKEND)
def shout(text):
    return None


@task(queue_name="loud", backend=BACKEND, priority=9)
def greet(name, *, greeting="hello"):
    return f"{greeting} {name}"


@task(queue_name="upper", backend=BACKEND)
async def agreet(name):
    return f"ahoy {name}"


@task(queue_name="boom", backend=BACKEND)
def boom(value):
    return value


@task(queue_name="upper", backend=BACKEND)
def nothing(one, two):
    return None
