"""Instants as RFC 3339 text, as the server writes and reads them."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Final

_FRACTION: Final = re.compile(r"\.(\d+)")


def from_text(text: str) -> datetime:
    """Read an instant.

    Raises:
        ValueError: it is none.
    """
    # Python 3.10 reads neither `Z` nor a fraction of other than three or six digits.
    text = _FRACTION.sub(lambda match: "." + match[1][:6].ljust(6, "0"), text.replace("Z", "+00:00"))
    return datetime.fromisoformat(text)


def to_text(at: datetime) -> str:
    """Write an aware datetime, in UTC: it stands in URLs, where the plus of an offset would be a space.

    Raises:
        OverflowError: it is at the very end of what a datetime can be.
    """
    return at.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
