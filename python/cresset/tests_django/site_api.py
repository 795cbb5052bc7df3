"""The API of the site that the tests are."""

from __future__ import annotations

from rest_framework import permissions, serializers, throttling

from cresset.django.rest import InferenceView, inference_paths


class ShoutSerializer(serializers.Serializer):
    text = serializers.CharField()


class Shout(InferenceView):
    model = "upper"
    serializer_class = ShoutSerializer
    permission_classes = [permissions.IsAuthenticated]

    def get_input(self, data):
        return data["text"] + "!"


class Plain(InferenceView):
    model = "upper"


class Boom(InferenceView):
    model = "boom"


class Open(InferenceView):
    model = "upper"
    allow_unowned = True


class TwoAnHour(throttling.UserRateThrottle):
    rate = "2/hour"


class Slow(InferenceView):
    model = "upper"
    throttle_classes = [TwoAnHour]
    poll_throttle_classes = []


class Nobody(permissions.BasePermission):
    def has_object_permission(self, request, view, obj):
        return obj.model != "upper"


class Private(InferenceView):
    model = "upper"
    permission_classes = [Nobody]


urlpatterns = [
    *inference_paths("api/shout", Shout, name="shout"),
    *inference_paths("api/plain", Plain, name="plain"),
    *inference_paths("api/boom", Boom, name="boom"),
    *inference_paths("api/open", Open, name="open"),
    *inference_paths("api/slow", Slow, name="slow"),
    *inference_paths("api/private", Private, name="private"),
]
