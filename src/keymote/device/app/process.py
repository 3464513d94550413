"""A device as a process of its own."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Mapping

from keymote.device.agent import Agent
from keymote.device.config import DeviceConfig
from keymote.device.sdk import Device
from keymote.engine.base import CellKey, Refused, Report
from keymote.engine.faces import (
    CredentialRenewed,
    Enrolled,
    EnrolmentFailed,
    KeyReady,
    SessionClosed,
)
from keymote.transports.control import ControlServer

logger = logging.getLogger(__name__)


async def serve(config: DeviceConfig, ready: Callable[[Mapping[str, object]], None], *, rejoin: bool = False) -> None:
    """Run a device as a process of its own until SIGTERM or SIGINT; `ready` hears where it is reached."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    device = Device(config)
    await device.start(rejoin=rejoin)
    device.node.observer = _log
    try:
        control = await ControlServer.open(config.socket, Agent(device).handlers())
        try:
            ready(
                {
                    "ready": True,
                    "role": "device",
                    "pid": os.getpid(),
                    "id": device.id,
                    "address": device.address,
                    "control": str(config.socket),
                }
            )
            await stopped.wait()
        finally:
            await control.close()
    finally:
        await device.close()


def _log(key: CellKey, report: Report) -> None:
    match report:
        case Refused(_, code, what):
            logger.debug("refused", extra={"cell": key.kind, "code": code.name, "what": what})
        case SessionClosed(psid, code, revoked, why):
            closed = {"psid": psid, "code": code.name if code is not None else "", "revoked": revoked, "why": why}
            logger.info("session closed", extra=closed)
        case KeyReady(psid, initiator, peer_id, _):
            logger.info("session open", extra={"psid": psid, "initiator": initiator, "peer": peer_id})
        case EnrolmentFailed(code, retry_after_s):
            logger.warning("not enrolled yet", extra={"code": code.name, "retry_after_s": retry_after_s})
        case Enrolled(dev_id):
            logger.info("enrolled", extra={"dev_id": dev_id})
        case CredentialRenewed(dev_id, _, expires):
            logger.info("credential renewed", extra={"dev_id": dev_id, "expires": expires})
        case _:
            pass  # records and their plaintext are the application's
