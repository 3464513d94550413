"""Routes, errors, limits and description put together."""

from typing import Final

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from keymote.coordinator.api import change_routes, group_routes, open_routes, registry_routes, topic_routes
from keymote.coordinator.api.callers import services_of
from keymote.coordinator.api.gate import Gate
from keymote.coordinator.api.problems import on_bug, on_fault, on_http
from keymote.coordinator.api.services import Services
from keymote.errors import KeymoteError
from keymote.transports.http_server import Application
from keymote.wire.admin import API

_ROUTED: Final = (registry_routes, change_routes, group_routes, topic_routes)
MAX_BODY: Final = 16 * 1024
"""Bytes of a request; a credential in base64url has 344."""


def build(services: Services) -> Application:
    """Return the ASGI application of a coordinator."""
    inner = Litestar(
        route_handlers=[
            Router(
                API,
                route_handlers=[
                    *registry_routes.ROUTES,
                    *change_routes.ROUTES,
                    *group_routes.ROUTES,
                    *topic_routes.ROUTES,
                ],
            ),
            *open_routes.ROUTES,
        ],
        dependencies={"services": Provide(services_of, sync_to_thread=False)},
        exception_handlers={KeymoteError: on_fault, HTTPException: on_http, Exception: on_bug},
        openapi_config=OpenAPIConfig(
            title="Keymote coordinator",
            version=services.version,
            path=API,
            render_plugins=[JsonRenderPlugin(path="/openapi.json")],
            components=Components(
                security_schemes={
                    "operator": SecurityScheme(type="http", scheme="bearer", description="Content of the token file."),
                    "manager": SecurityScheme(type="mutualTLS", description="Certificate issued to a manager."),
                }
            ),
            security=[{"operator": []}, {"manager": []}],
        ),
        request_max_body_size=MAX_BODY,
        state=State({"services": services}),
        logging_config=None,
        debug=False,
    )
    return Gate(inner, services)  # type: ignore[arg-type]  # Litestar narrows the scope that ASGI hands it
