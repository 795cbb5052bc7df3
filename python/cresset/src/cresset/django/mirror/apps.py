"""The app: listens to what the site submits and to what it hears of."""

from __future__ import annotations

from django.apps import AppConfig


class MirrorConfig(AppConfig):
    """`INSTALLED_APPS = [..., "cresset.django", "cresset.django.mirror"]`."""

    name = "cresset.django.mirror"
    label = "cresset_mirror"
    verbose_name = "Inference (Cresset)"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect the receivers."""
        from cresset.django.mirror import _receivers

        _receivers.connect()
