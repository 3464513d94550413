"""The coordinator's REST interface; `build` makes the whole ASGI application."""

from keymote.coordinator.api.build import build
from keymote.coordinator.api.services import Services

__all__ = ["Services", "build"]
