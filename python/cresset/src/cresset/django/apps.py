"""The app: its checks, and nothing else. It has no tables; `cresset.django.mirror` has."""

from __future__ import annotations

from django.apps import AppConfig


class CressetConfig(AppConfig):
    """`INSTALLED_APPS = [..., "cresset.django"]`."""

    name = "cresset.django"
    label = "cresset"
    verbose_name = "Inference (Cresset)"

    def ready(self) -> None:
        """Register the system checks."""
        from cresset.django import checks  # not before the apps are there

        checks.register()
