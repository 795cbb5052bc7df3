"""Settings. What differs between machines is in the environment: `DATABASE_URL`, `CRESSET_URL`, `SECRET_KEY`, ..."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

BASE = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("SITE_DATA", BASE / ".data"))

SECRET_KEY = os.environ.get("SECRET_KEY", "an example's, known to everybody")
DEBUG = os.environ.get("DEBUG") == "1"
ALLOWED_HOSTS = ["*"]
# Where browsers see the site at a port of its own: Debian's uwsgi_params leave the port out of the host.
CSRF_TRUSTED_ORIGINS = [os.environ["SITE_ORIGIN"]] if os.environ.get("SITE_ORIGIN") else []
ROOT_URLCONF = "webapp.urls"
WSGI_APPLICATION = "webapp.wsgi.application"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "static/"
STATIC_ROOT = DATA / "static"
# Visitors need no account, and a session of theirs needs no row.
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "rest_framework",
    "cresset.django",
    "cresset.django.mirror",
    "webapp",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

CRESSET = {
    "URL": os.environ.get("CRESSET_URL", "http://127.0.0.1:8700"),
    "KEY": os.environ.get("CRESSET_KEY") or None,
    "MODELS": ["digits", "slow"],
    # Where nginx stands in front (nginx.conf), it holds the long polls and the events, and no process of the site does.
    "ACCEL": os.environ.get("CRESSET_ACCEL") or None,
}

# The comparison's other "before" (celery.py): a Redis, as broker and for results. Without one there is no such page.
CELERY_BROKER_URL = os.environ.get("SITE_CELERY") or None
CELERY_RESULT_BACKEND = CELERY_BROKER_URL
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# What Celery's guide advises for tasks that take long: a process of the worker's holds no task that it does not run.
CELERY_WORKER_PREFETCH_MULTIPLIER = 1


def database(url: str) -> dict[str, Any]:
    """Give the setting for `postgresql://user:password@host:port/name`; for an empty one, SQLite in a file."""
    if not url:
        # WAL: who reads does not wait for who writes. Mapped: to read a page takes no system call.
        options = {
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA mmap_size=134217728;",
            "transaction_mode": "IMMEDIATE",
        }
        # To open it costs a view more than to submit a task does.
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": DATA / "site.sqlite3",
            "OPTIONS": options,
            "CONN_MAX_AGE": 60,
        }
    parts = urlsplit(url)
    if parts.scheme not in ("postgres", "postgresql"):
        raise ValueError(
            f"DATABASE_URL must be like postgresql://user:password@host:5432/name, not {parts.scheme}://..."
        )
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
        "CONN_MAX_AGE": 60,
    }


DATABASES = {"default": database(os.environ.get("DATABASE_URL", ""))}
