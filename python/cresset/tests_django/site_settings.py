"""The settings of the site that the tests are."""

from __future__ import annotations

import os

import django

SECRET_KEY = "of the tests"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
ROOT_URLCONF = "site_urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
if os.environ.get("TEST_POSTGRES_HOST"):
    _POSTGRES = {"ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "USER": "postgres"}
    DATABASES = {
        "default": {**_POSTGRES, "HOST": os.environ["TEST_POSTGRES_HOST"], "TEST": {"NAME": "test_cresset_django"}}
    }
if os.environ.get("TEST_MYSQL_HOST"):
    # Django's backend wants a module of another client, which this one stands in for.
    import pymysql

    pymysql.version_info = (2, 2, 7, "final", 0)
    pymysql.install_as_MySQLdb()
    _MYSQL = {"ENGINE": "django.db.backends.mysql", "NAME": "mysql", "USER": "root"}
    DATABASES = {"default": {**_MYSQL, "HOST": os.environ["TEST_MYSQL_HOST"], "TEST": {"NAME": "test_cresset_django"}}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STATIC_URL = "/static/"
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
]


MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
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
_BACKEND = {"QUEUES": ["upper", "boom", "loud"], "OPTIONS": {"MODELS": {"loud": "upper"}}}
TASKS = {"backport": {"BACKEND": "cresset.django.backport.CressetBackend", **_BACKEND}}
if django.VERSION >= (6, 0):
    TASKS["default"] = {"BACKEND": "cresset.django.tasks.CressetBackend", **_BACKEND}
CRESSET = {"URL": "http://127.0.0.1:1", "MODELS": ["upper", "boom"], "RETRIES": 0}
