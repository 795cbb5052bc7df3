"""A Django site with the model inline: the view runs it, and its worker is busy until it has."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import work

# No middleware and no applications: as little Django as there can be.
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="bench", MIDDLEWARE=[], INSTALLED_APPS=[])
loaded = work.Work()


def predict(request: HttpRequest) -> JsonResponse:
    """JSON in, JSON out."""
    row = loaded.of_numbers([json.loads(request.body)["input"]])
    return JsonResponse({"result": loaded.run(row)[0].tolist()})


def binary(request: HttpRequest) -> HttpResponse:
    """The bytes of a row in, bytes out."""
    row = loaded.of_bytes(request.body)
    return HttpResponse(loaded.run(row[None])[0].tobytes(), content_type="application/octet-stream")


urlpatterns = [path("predict", predict), path("binary", binary)]
application = get_wsgi_application()
