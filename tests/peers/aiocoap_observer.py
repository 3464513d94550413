"""An observer made of aiocoap alone, for a process of its own: aiocoap-client 0.4.17 cancels what it observes at once.

Prints every representation on a line of its own, then `over: REASON` when the observation has ended.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import aiocoap


async def observe(credentials: dict[str, Any], uri: str) -> None:
    context = await aiocoap.Context.create_client_context(transports=["oscore", "simple6"])
    context.client_credentials.load_from_dict(credentials)
    asked = context.request(aiocoap.Message(code=aiocoap.GET, uri=uri, observe=0))
    over = asyncio.get_running_loop().create_future()
    asked.observation.register_callback(lambda message: print(message.payload.decode(), flush=True))
    asked.observation.register_errback(over.set_result)
    print((await asked.response).payload.decode(), flush=True)
    print(f"over: {type(await over).__name__}", flush=True)


if __name__ == "__main__":
    asyncio.run(observe(json.loads(Path(sys.argv[1]).read_text()), sys.argv[2]))
