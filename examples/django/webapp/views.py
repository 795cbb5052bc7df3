"""The pages. `Classify` is all that a site needs to submit; `inline` is how it would be without Cresset."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

from cresset.django import views
from cresset.django.mirror.models import InferenceTask
from cresset.django.rest import InferenceView
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt, ensure_csrf_cookie
from django.views.decorators.http import require_POST
from rest_framework import serializers

from webapp.slow import slow_model

EXAMPLES = Path(__file__).resolve().parents[2]
SIDE = 8
BRIGHTEST = 16
SHOWN = 10


@cache
def samples() -> list[list[list[float]]]:
    """Some digits that the model has never seen, to click on."""
    with (EXAMPLES / "digits" / "heldout" / "images.jsonl").open() as lines:
        return [json.loads(line)[0] for line, _ in zip(lines, range(SHOWN), strict=False)]


@ensure_csrf_cookie
def home(request: HttpRequest) -> HttpResponse:
    """The page to draw on."""
    return render(request, "webapp/home.html", {"samples": samples()})


def about(request: HttpRequest) -> HttpResponse:
    """One of the site's other pages: a template and a query."""
    counts = InferenceTask.objects.order_by("-created_at")[:20]
    return render(request, "webapp/about.html", {"tasks": counts})


def plain(_request: HttpRequest) -> JsonResponse:
    """What a view costs that does nothing: for comparison with one that submits."""
    return JsonResponse({"task_id": None}, status=202)


class Classify(views.SubmitView):
    """The drawn digit to the model. The answer has the URL at which the page follows the task."""

    model = "digits"

    def get_input(self, request: HttpRequest) -> list[list[list[float]]]:
        """Read 8 rows of 8 numbers from 0 to 16."""
        return [checked(super().get_input(request))]


def checked(pixels: Any) -> list[list[float]]:
    """The pixels, if they are such."""

    def good(value: Any) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= BRIGHTEST

    rows: list[Any] = pixels if isinstance(pixels, list) else []
    if len(rows) != SIDE or not all(isinstance(row, list) and len(row) == SIDE and all(map(good, row)) for row in rows):
        raise BadRequest(f"input must be {SIDE} rows of {SIDE} numbers from 0 to {BRIGHTEST}")
    return rows


class PixelsSerializer(serializers.Serializer[Any]):
    """A digit for the API."""

    pixels = serializers.ListField(
        child=serializers.ListField(
            child=serializers.FloatField(min_value=0, max_value=BRIGHTEST), min_length=SIDE, max_length=SIDE
        ),
        min_length=SIDE,
        max_length=SIDE,
    )


class DigitsApi(InferenceView):
    """The same for programs: Django REST framework validates."""

    model = "digits"
    serializer_class = PixelsSerializer

    def get_input(self, data: Any) -> Any:
        """The model takes one channel."""
        return [data["pixels"]]


class Slow(views.SubmitView):
    """The model of the comparison, at Cresset: half a second an item."""

    model = "slow"


@csrf_exempt
@require_POST
def inline(request: HttpRequest) -> JsonResponse:
    """The same model in the view, as it is done before it hurts: this thread is gone for as long as the model takes."""
    return JsonResponse({"result": slow_model().infer(json.loads(request.body)["input"])})


def who(_request: HttpRequest) -> JsonResponse:
    """Which process answers."""
    return JsonResponse({"pid": os.getpid()})
