"""The operator's socket: real sockets, a real second connection, and errors that keep their root."""

import asyncio
import json
import socket
from pathlib import Path

import pytest

from keymote.errors import CallerFault, ErrorCode, Incompatible, KeymoteError, PeerFault, RefusedByPolicy, Unavailable
from keymote.transports.control import ControlClient, ControlServer


async def echo(request):
    return {"heard": request["text"]}


def asked(path: Path, do: str, **arguments: object) -> object:
    with ControlClient(path) as client:
        return client.ask(do, **arguments)


async def test_a_command_gets_its_answer_and_the_socket_is_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    server = await ControlServer.open(path, {"echo": echo})
    try:
        assert path.stat().st_mode & 0o777 == 0o600
        assert await asyncio.to_thread(asked, path, "echo", text="ü") == {"heard": "ü"}
    finally:
        await server.close()
    assert not path.exists()


@pytest.mark.parametrize(
    "fault",
    [
        CallerFault("w", do="d"),
        RefusedByPolicy("w", do="d"),
        Incompatible("w", do="d"),
        Unavailable("w", do="d"),
        PeerFault(ErrorCode.E_NOSHARE, "w", do="d"),
    ],
)
async def test_errors_keep_root_words_and_exit_code(tmp_path: Path, fault: KeymoteError) -> None:
    async def fails(_request):
        raise fault

    server = await ControlServer.open(tmp_path / "s", {"fails": fails})
    try:
        with pytest.raises(type(fault)) as met:
            await asyncio.to_thread(asked, tmp_path / "s", "fails")
        assert (str(met.value), met.value.exit_code) == (str(fault), fault.exit_code)
    finally:
        await server.close()


async def test_a_class_of_ones_own_arrives_as_the_root_below_which_it_stands(tmp_path: Path) -> None:
    class Revoked(RefusedByPolicy):
        pass

    class Replayed(PeerFault):
        pass

    async def fails(request):
        raise Revoked("w") if request["which"] == "revoked" else Replayed(ErrorCode.E_REPLAY, "w")

    server = await ControlServer.open(tmp_path / "s", {"fails": fails})
    try:
        with pytest.raises(RefusedByPolicy):
            await asyncio.to_thread(asked, tmp_path / "s", "fails", which="revoked")
        with pytest.raises(PeerFault):
            await asyncio.to_thread(asked, tmp_path / "s", "fails", which="replayed")
    finally:
        await server.close()


async def test_what_is_not_understood_is_not_repeated(tmp_path: Path) -> None:
    server = await ControlServer.open(tmp_path / "s", {"echo": echo})
    try:
        with pytest.raises(CallerFault) as met:
            await asyncio.to_thread(asked, tmp_path / "s", "echo", code="MY-SECRET")
        assert "SECRET" not in str(met.value)
        with pytest.raises(CallerFault, match="not known"):
            await asyncio.to_thread(asked, tmp_path / "s", "other")
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(b"[1, 2\n")
        assert json.loads(await reader.readline())["ok"] is False
        writer.close()
    finally:
        await server.close()


async def test_a_second_process_is_refused_and_a_dead_ones_socket_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = await ControlServer.open(path, {"echo": echo})
    try:
        with pytest.raises(Unavailable, match="another process"):
            await ControlServer.open(path, {})
    finally:
        await server.close()


async def test_a_file_in_the_way_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")
    with pytest.raises(CallerFault):
        await ControlServer.open(tmp_path / "s", {})
    assert (tmp_path / "s").read_text() == "precious"


async def test_a_path_longer_than_a_socket_address_works(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    server = await ControlServer.open(deep / "control.sock", {"echo": echo})
    try:
        assert await asyncio.to_thread(asked, deep / "control.sock", "echo", text="x") == {"heard": "x"}
    finally:
        await server.close()


def test_nobody_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="nothing listens"):
        ControlClient(tmp_path / "s")
