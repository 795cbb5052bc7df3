"""The version, where both the package and its requests find it."""

from __future__ import annotations

from typing import Final

__version__: Final = "0.1.0"
USER_AGENT: Final = f"cresset-python/{__version__}"
