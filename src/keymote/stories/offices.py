"""Operators as people set them up: an authority, a coordinator and a manager each, by the commands that they would type."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keymote.stories.processes import Cast, Role, together


@dataclass(slots=True)
class Office:
    """One operator: its directory, its coordinator's port, and what runs of it."""

    name: str
    folder: Path
    port: int
    coordinator: Role | None = None
    manager: Role | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"


def authority_of(cast: Cast) -> Path:
    """Return the authority's directory in the cast's folder."""
    return cast.folder / "authority"


async def open_offices(cast: Cast, offices: Sequence[Office]) -> None:
    """Make an authority, have it certify each office's coordinator, and start those with one another as peers."""
    authority = str(authority_of(cast))

    async def make_root() -> None:
        await cast.run("authority", "init", "--data", authority)

    async def found(office: Office) -> None:
        data = str(office.folder / "coordinator")
        await cast.run("coordinator", "init", "--name", office.name, "--host", "127.0.0.1", "--data", data)

    async def certify(office: Office) -> None:
        data = office.folder / "coordinator"
        request, credential = str(data / "nc.req"), str(data / "nc.cred")
        await cast.run("authority", "certify", "--data", authority, "--request", request, "--out", credential)

    async def begin(office: Office) -> None:
        others = (word for other in offices if other is not office for word in ("--peer", other.url))
        office.coordinator = await cast.start(
            f"coordinator-{office.name}",
            *("coordinator", "run", "--data", str(office.folder / "coordinator"), "--port", str(office.port)),
            *others,
            address="url",
        )

    for office in offices:
        office.folder.mkdir(mode=0o700)
    await together(make_root(), *map(found, offices))
    await together(*map(certify, offices))
    await together(*map(begin, offices))


async def appoint(cast: Cast, office: Office, *listen: str) -> None:
    """Enrol the office's manager at its coordinator and start it; `listen` are options of `manager run`."""
    label, data = str(office.folder / "manager.label"), str(office.folder / "manager")
    where = ("--data", str(office.folder / "coordinator"), "--url", office.url)
    await cast.run("coordinator", "manager", "add", f"{office.name}-street", "--out", label, *where)
    await cast.run("manager", "enrol", "--label", label, "--data", data)
    office.manager = await cast.start(
        f"manager-{office.name}",
        *("manager", "run", "--data", data, "--group", "", *listen),
        address="address",
    )
