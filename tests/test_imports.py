"""Arrows that import-linter cannot draw: what pure rooms may import, and the one home of each third-party library."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import keymote

SOURCE = Path(keymote.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))

PURE_ROOMS = (
    "cbor.py",
    "errors.py",
    "wire/",
    "crypto/",
    "engine/",
    "lab/simulator",
    "lab/radio",
    "lab/energy",
    "lab/published",
)
"""Rooms without I/O, clock and randomness (path prefixes below src/keymote)."""

PURE_STDLIB = frozenset(
    {
        "__future__", "abc", "base64", "binascii", "bisect", "collections", "contextlib", "dataclasses",
        "enum", "fractions", "functools", "hashlib", "heapq", "hmac", "itertools", "math", "operator", "re",
        "statistics", "string", "struct", "types", "typing", "unicodedata",
    }
)  # fmt: skip

PURE_EXCEPTIONS = {
    "crypto/entropy.py": frozenset({"os"}),
    "engine/renewal.py": frozenset({"datetime"}),  # writes a date that it is given, and asks no clock
    "wire/json_form.py": frozenset({"json"}),  # texts in memory; msgspec does not tell of a name that is said twice
    "crypto/libcrypto.py": frozenset({"_hashlib", "ctypes"}),  # reaches the interpreter's own libcrypto
    "crypto/libsodium.py": frozenset({"pathlib"}),  # removes the file that rbcl leaves behind
}
"""The doors through which a pure room may reach further, file by file."""

DRAWS = frozenset(
    {
        "generate", "generate_key", "generate_private_key", "get_random_bytes", "randombytes",
        "token_bytes", "token_hex", "urandom",
    }
)  # fmt: skip
"""Attributes under which the libraries draw randomness that no seed reaches."""

FORBIDDEN_CALLS = frozenset({"open", "print", "input", "exec", "eval", "compile", "breakpoint", "__import__"})

EXEMPT_FROM_HOMES = ("bench/", "lab/attacks", "stories/")
"""Rooms whose work is to call libraries bare: measured beside ours, attacked unguarded, driven as a stranger would."""

HOMES: dict[str, tuple[str, ...]] = {
    "aiocoap": ("transports/coap",),
    "aiomqtt": ("transports/mqtt/",),
    "alembic": ("storage/migrations", "storage/sql"),
    "amqtt": ("transports/broker_amqtt.py",),
    "cbor2": ("cbor.py",),
    "Crypto": ("crypto/p256.py",),
    "cryptography": ("crypto/", "storage/seal", "transports/tls", "transports/http"),
    "httpx": ("transports/http",),
    "litestar": ("transports/http", "coordinator/api", "coordinator/dashboard", "manager/api"),
    "mbedtls": ("transports/dtls",),
    "msgspec": ("wire/admin", "transports/http", "coordinator/api", "manager/api"),
    "numba": ("crypto/lightweight/compiled.py",),
    "numpy": ("crypto/lightweight/compiled.py",),
    "nacl": ("crypto/ed25519.py", "crypto/x25519.py"),
    "paho": ("transports/mqtt/",),
    "pkcs11": ("storage/seal_pkcs11/token.py",),
    "platformdirs": ("cli/",),
    "prometheus_client": ("transports/http", "transports/metrics"),
    "rbcl": ("crypto/libsodium.py",),
    "rich": ("cli/",),
    "segno": ("cli/",),
    "sqlalchemy": ("storage/sql", "storage/migrations"),
    "typer": ("cli/",),
    "uvicorn": ("transports/http",),
}
"""Third-party package -> path prefixes that may import it. A new library gets its line here and its home there."""

LAB_MEETS = frozenset({"bench", "cbor", "crypto", "engine", "errors", "lab", "selftest", "wire"})
"""Rooms that the second host may import: engines and what lies below, neither our driver nor our links and stores."""

COMPOSED_IN = {"coordinator", "manager", "agent", "device"}
"""Roots in which app.py alone names concrete links and stores."""


def _name(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield every imported dotted name of `tree` with its line, wherever in the file it stands."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((alias.name, node.lineno) for alias in names)
            case ast.ImportFrom(module=str(module), level=0, names=names):
                yield from ((f"{module}.{alias.name}", node.lineno) for alias in names)
            case ast.ImportFrom():
                yield ".", node.lineno
            case ast.Call(
                func=ast.Attribute(value=ast.Name("importlib"), attr="import_module"),
                args=[ast.Constant(str(name)), *_],
            ):
                yield name, node.lineno


def impurities(name: str, source: str) -> list[str]:
    """Return what `source`, a file of a pure room at `name`, must not do."""
    tree = ast.parse(source)
    allowed = PURE_STDLIB | PURE_EXCEPTIONS.get(name, frozenset())
    found = [
        f"{name}:{line}: imports {target}"
        for target, line in imported(tree)
        if ((top := target.split(".")[0]) in sys.stdlib_module_names and top not in allowed) or top == ""
    ]
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=called)) if called in FORBIDDEN_CALLS:
                found.append(f"{name}:{node.lineno}: calls {called}()")
            case ast.Attribute(attr=drawn) if drawn in DRAWS and name not in PURE_EXCEPTIONS:
                found.append(f"{name}:{node.lineno}: {drawn} draws randomness that no seed reaches")
    return found


def strangers(name: str, source: str) -> list[str]:
    """Return the third-party imports of the file at `name` that are not at home there."""
    found = []
    for target, line in imported(ast.parse(source)):
        top = target.split(".")[0]
        if top == "keymote" or top in sys.stdlib_module_names:
            continue
        if top not in HOMES:
            found.append(f"{name}:{line}: {top} has no home; give it one line in HOMES")
        elif not name.startswith(HOMES[top]):
            found.append(f"{name}:{line}: {top} lives in {', '.join(HOMES[top])}")
    return found


def rooms(source: str) -> Iterator[tuple[str, int]]:
    """Yield the rooms (first name below keymote) that `source` imports."""
    for target, line in imported(ast.parse(source)):
        match target.split("."):
            case ["keymote", room, *_]:
                yield room, line


def test_sources_were_found() -> None:
    assert SOURCE / "errors.py" in FILES


def test_every_room_is_a_package_that_the_contracts_can_see() -> None:
    assert [_name(path) for path in FILES if not (path.parent / "__init__.py").exists()] == []


@pytest.mark.parametrize("path", [path for path in FILES if _name(path).startswith(PURE_ROOMS)], ids=_name)
def test_pure_rooms_have_no_io_clock_or_randomness(path: Path) -> None:
    assert impurities(_name(path), path.read_text()) == []


@pytest.mark.parametrize("path", [path for path in FILES if not _name(path).startswith(EXEMPT_FROM_HOMES)], ids=_name)
def test_third_party_libraries_stay_at_home(path: Path) -> None:
    assert strangers(_name(path), path.read_text()) == []


def test_lab_meets_engines_only() -> None:
    wrong = [
        f"{_name(path)}:{line}: lab meets {room}"
        for path in FILES
        if _name(path).startswith("lab/")
        for room, line in rooms(path.read_text())
        if room not in LAB_MEETS
    ]
    assert wrong == []


def test_app_alone_names_links_and_stores() -> None:
    wrong = [
        f"{_name(path)}:{line}: imports {room}"
        for path in FILES
        if path.relative_to(SOURCE).parts[0] in COMPOSED_IN and path.stem != "app" and "app" not in path.parent.parts
        for room, line in rooms(path.read_text())
        if room in {"storage", "transports"}
        and path.relative_to(SOURCE).parts[1:2] not in {("api.py",), ("api",), ("dashboard",)}
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "source",
    [
        "import os",
        "import time as clock",
        "from random import Random",
        "def f():\n    import secrets",
        "from . import neighbour",
        "from pathlib import Path",
        "import logging",
        "import asyncio",
        "x = open('f')",
        "print('x')",
        "key = SigningKey.generate()",
    ],
)
def test_the_walk_sees_each_kind_of_impurity(source: str) -> None:
    assert impurities("engine/sample.py", source)


def test_the_walk_sees_a_library_away_from_home() -> None:
    assert strangers("engine/sample.py", "import cbor2")
    assert strangers("engine/sample.py", "def f():\n    from sqlalchemy import select")
    assert strangers("engine/sample.py", "import unheard_of")
    assert not strangers("cbor.py", "import cbor2")
