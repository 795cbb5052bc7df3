"""Admin pages: what the site submitted, how it stands, and what to do about it. Rows are never edited."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.utils.html import format_html

from cresset.django._clients import get_client
from cresset.django._submit import submit
from cresset.django.mirror import _sync
from cresset.django.mirror.models import InferenceTask
from cresset.errors import CressetError

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest

_SHOWN = 2000
"""Characters of a result that are shown."""


@admin.register(InferenceTask)
class InferenceTaskAdmin(admin.ModelAdmin):
    """The pages."""

    list_display = ("task_id", "model", "status", "who", "created_at", "took", "attempts", "error_code")
    list_filter = ("status", "model", "created_at", "error_code")
    search_fields = ("task_id", "owner", "error_message", "user__username")
    date_hierarchy = "created_at"
    list_select_related = ("user", "rerun_of")
    actions = ("run_again", "cancel", "refresh")
    fieldsets = (
        (None, {"fields": ("task_id", "model", "version", "status", "who", "priority", "metadata", "rerun_of")}),
        ("Times", {"fields": ("created_at", "started_at", "finished_at", "took", "attempts", "retries", "synced_at")}),
        ("Outcome", {"fields": ("result", "error_code", "error_message")}),
        ("Input", {"fields": ("input",), "classes": ("collapse",)}),
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Tasks are submitted, not typed."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: InferenceTask | None = None) -> bool:
        """Let no row be edited. Actions ask for their own permission."""
        return False

    def has_act_permission(self, request: HttpRequest) -> bool:
        """Tell whether a user may run again and cancel: with the permission to change rows."""
        user: Any = request.user
        return user.has_perm("cresset_mirror.change_inferencetask")

    @admin.display(description="owner", ordering="owner")
    def who(self, row: InferenceTask) -> str:
        """Give the owner: a user by name, a visitor without their secret."""
        if row.user is not None:
            return str(row.user)
        return "a visitor" if row.owner.startswith("visitor:") else row.owner or "-"

    @admin.display(description="took")
    def took(self, row: InferenceTask) -> str:
        """Give how long it took."""
        return "-" if row.seconds is None else f"{row.seconds:.3f} s"

    @admin.display(description="result")
    def result(self, row: InferenceTask) -> str:
        """Ask the server for the result: the table has none."""
        if row.status != "SUCCESS":
            return "-"
        try:
            text = json.dumps(get_client().task(str(row.task_id)).status().result, ensure_ascii=False)
        except CressetError as error:
            return f"not to be had: {error}"
        return format_html("<code>{}</code>", text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ...")

    @admin.action(description="Run again with the same input", permissions=["act"])
    def run_again(self, request: HttpRequest, rows: QuerySet[InferenceTask]) -> None:
        """Submit a new task for each, with the same owner."""
        done = 0
        for row in rows:
            if not row.has_input:
                self.message_user(request, f"{row}: its input was not kept (KEEP_INPUT_BYTES)", messages.WARNING)
                continue
            try:
                new = submit(
                    row.model, row.input, owner=row.owner or None, metadata=row.metadata, priority=row.priority
                )
            except CressetError as error:
                self.message_user(request, f"{row}: {error}", messages.ERROR)
                continue
            InferenceTask.objects.filter(task_id=new.id).update(rerun_of=row)
            done += 1
        self._say(request, f"{done} submitted again", any_done=done > 0)

    @admin.action(description="Cancel", permissions=["act"])
    def cancel(self, request: HttpRequest, rows: QuerySet[InferenceTask]) -> None:
        """Cancel each at the server."""
        found: dict[str, int] = {}
        for row in rows:
            try:
                when: str = get_client().cancel(str(row.task_id)).when
            except CressetError as error:
                self.message_user(request, f"{row}: {error}", messages.ERROR)
                continue
            found[when] = found.get(when, 0) + 1
        self._refresh(request, rows)
        told = ", ".join(f"{count} {when.replace('_', ' ')}" for when, count in sorted(found.items()))
        self._say(request, f"cancelled: {told or 'none'}", any_done=bool(found))

    @admin.action(description="Ask the server how they stand", permissions=["view"])
    def refresh(self, request: HttpRequest, rows: QuerySet[InferenceTask]) -> None:
        """Bring rows up to date."""
        done = self._refresh(request, rows)
        if done is not None:
            self._say(request, f"{done.asked} asked about, {done.ended} had ended", any_done=True)

    def _refresh(self, request: HttpRequest, rows: QuerySet[InferenceTask]) -> _sync.Synced | None:
        try:
            return _sync.sync(row for row in rows if not row.is_final)
        except CressetError as error:
            self.message_user(request, str(error), messages.ERROR)
            return None

    def _say(self, request: HttpRequest, text: str, *, any_done: bool) -> Any:
        self.message_user(request, text, messages.SUCCESS if any_done else messages.WARNING)
