"""The site's URLs."""

from __future__ import annotations

import os

from cresset.django.rest import inference_paths
from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt

from webapp import views

TASKS = "cresset.django.async_urls" if os.environ.get("SITE_ASYNC") else "cresset.django.urls"

urlpatterns = [
    path("", views.home, name="home"),
    path("about", views.about, name="about"),
    path("classify", views.Classify.as_view(), name="classify"),
    path("inference/", include(TASKS)),
    *inference_paths("api/digits", views.DigitsApi, name="api-digits"),
    path("admin/", admin.site.urls),
    # For the comparison, whose load generator has no cookies.
    path("compare/cresset", csrf_exempt(views.Slow.as_view())),
    path("compare/inline", views.inline),
    path("compare/plain", csrf_exempt(views.plain)),
    path("compare/who", views.who),
]

if settings.CELERY_BROKER_URL:
    urlpatterns.append(path("", include("webapp.through_celery")))
