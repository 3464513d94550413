"""A client that holds nothing but symmetric keys, from a provisioning file of its manager.

    async with TopicClient.open("bed-7.client") as client:
        await client.topics.ready_to_publish("ward/7/hr")
        payload = client.topics.keys.protect("ward/7/hr", b"72")

What it keeps lies beside the file, in `bed-7.client.state`. The file's secret is taken out of it at the first start.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from keymote.device.faults import NotReady

if TYPE_CHECKING:
    from keymote.device.topic_client.app import ClientNode  # loads the protocols: when a client opens
    from keymote.device.topics import Topics


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """`poll_s` above 0 fetches what waits at the manager that often, for a client that cannot be reached.

    `state` is where its chain is kept, by default beside the file; `key_uri` the key-encryption key of it.
    """

    file: Path
    state: Path | None = None
    key_uri: str = ""
    listen: tuple[str, int] = ("127.0.0.1", 0)
    poll_s: float = 0.0

    @property
    def folder(self) -> Path:
        """Where the client keeps its chain."""
        return self.state or self.file.with_name(self.file.name + ".state")


class TopicClient:
    """One client of a provisioning file; two programs cannot be the same client at once."""

    def __init__(self, config: ClientConfig) -> None:
        self.config: Final = config
        self._node: ClientNode | None = None

    @classmethod
    def open(cls, file: str | Path | ClientConfig) -> Self:
        """Return the client of a file, for `async with`."""
        return cls(file if isinstance(file, ClientConfig) else ClientConfig(Path(file)))

    async def __aenter__(self) -> Self:
        """Start.

        Raises:
            CallerFault: the file is missing, unfit, readable by others, or its secret was taken out of it elsewhere.
            Unavailable: the port or the store is taken, or the secret cannot be taken out of the file.
        """
        from keymote.device.topic_client.app import launch

        self._node = await launch(self.config)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop. Keys of topics were in this memory alone; the next start asks for them again."""
        if self._node is not None:
            node, self._node = self._node, None
            await node.close()

    @property
    def _open(self) -> "ClientNode":
        if self._node is None:
            raise NotReady("the client is not open", do="use it inside `async with`")
        return self._node

    @property
    def id(self) -> str:
        """16 hex digits."""
        return self._open.client_id.hex()

    @property
    def topics(self) -> "Topics":
        return self._open.topics
