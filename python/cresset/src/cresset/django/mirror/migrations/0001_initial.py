"""The table of tasks."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="InferenceTask",
            fields=[
                ("task_id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("model", models.CharField(max_length=128)),
                ("version", models.CharField(blank=True, max_length=128)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("PENDING", "Pending"),
                            ("STARTED", "Started"),
                            ("RETRY", "Retry"),
                            ("SUCCESS", "Success"),
                            ("FAILURE", "Failure"),
                            ("REVOKED", "Revoked"),
                            ("GONE", "Gone (results are kept for a time)"),
                        ],
                        default="PENDING",
                        max_length=16,
                    ),
                ),
                ("owner", models.CharField(blank=True, max_length=255)),
                ("priority", models.SmallIntegerField(default=0)),
                ("metadata", models.JSONField(blank=True, null=True)),
                ("input", models.JSONField(blank=True, null=True)),
                ("has_input", models.BooleanField(default=False)),
                ("created_at", models.DateTimeField()),
                ("started_at", models.DateTimeField(blank=True, null=True)),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("retries", models.PositiveIntegerField(default=0)),
                ("error_code", models.CharField(blank=True, max_length=64)),
                ("error_message", models.TextField(blank=True)),
                ("synced_at", models.DateTimeField(auto_now=True)),
                (
                    "rerun_of",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="reruns",
                        to="cresset_mirror.inferencetask",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "inference task",
                "ordering": ("-created_at",),
                "indexes": [
                    models.Index(fields=["-created_at"], name="cresset_mirror_created"),
                    models.Index(fields=["status"], name="cresset_mirror_status"),
                    models.Index(fields=["owner", "-created_at"], name="cresset_mirror_owner"),
                ],
            },
        ),
    ]
