"""What uvicorn loads. The URLs of tasks are then those of `cresset.django.async_urls`, which wait without a thread."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
os.environ.setdefault("SITE_ASYNC", "1")
application = get_asgi_application()
