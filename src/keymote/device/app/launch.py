"""Starts a device: its cells with a sealed file store and a CoAP endpoint."""

import asyncio

from keymote.crypto.entropy import SystemEntropy
from keymote.crypto.suites import SUITES, prepare
from keymote.device.app.directory import CELLS
from keymote.device.app.identity import root_pin, signing_key, suite_of, verify_key
from keymote.device.app.runtime import DeviceRuntime
from keymote.device.config import DeviceConfig
from keymote.device.node import DeviceNode
from keymote.device.topics import Topics
from keymote.engine.chain import Trust
from keymote.engine.context import DeviceContext, Handshake
from keymote.engine.exports import PskForm
from keymote.engine.faces import (
    Announce,
)
from keymote.engine.group.faces import Resume, membership_of
from keymote.engine.link_faces import OWN_LINK
from keymote.host.async_host import SystemClock, call_soon
from keymote.selftest.startup import startup_once
from keymote.storage.file import FileStore
from keymote.storage.rotation import refuse_unfinished
from keymote.storage.seal import open_key


async def launch(config: DeviceConfig, *, rejoin: bool = False) -> DeviceNode:
    """Start a device; with `rejoin` it forgets its enrolment and begins anew with the code of its configuration.

    Raises:
        Incompatible: the algorithms under the device's suite do not answer as published.
        CallerFault: a file of the configuration or the key-encryption key is missing, unfit, or readable by others.
        Unavailable: the port or the store is taken, or the key's token does not answer.
    """
    entropy = SystemEntropy()
    suite = suite_of(config.suite)
    startup_once((suite.id,))
    prepare(suite.id)
    trust = Trust((root_pin(config.root),), SUITES)
    config.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    refuse_unfinished(config.state)
    kek = open_key(config.key_uri, entropy, create=not (config.state / CELLS).exists())
    store = FileStore(config.state / CELLS, kek, entropy, call_soon=call_soon(asyncio.get_running_loop()))
    node = DeviceNode(PskForm(config.psk_form))
    try:
        context = DeviceContext(
            id=config.id,
            suite=suite,
            signing=await signing_key(store, suite, entropy),
            trust=trust,
            accept_compact=config.accept_compact,
            has_clock=config.has_clock,
            post_quantum=config.post_quantum,
            handshake=Handshake(config.handshake),
        )
        runtime = await DeviceRuntime.start(config, context, store, entropy, node)
    except BaseException:
        store.close()
        raise
    try:
        node.attach_topics(lambda own: Topics(own, SystemClock().now, verify_key, context.signing))
        await runtime.open_doors(node.doors)
        await runtime.provide_code(again=rejoin)
        if not rejoin:
            runtime.command(OWN_LINK, Announce())
        for invitation in runtime.invitations:
            runtime.command(membership_of(invitation.gid), Resume())
    except BaseException:
        await runtime.close()
        raise
    node.attach(runtime)
    runtime.attend()
    return node
