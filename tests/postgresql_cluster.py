"""A PostgreSQL server of the tests' own: a cluster in a temporary directory, on loopback, with passwords."""

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from socket import socket

import pytest
from sqlalchemy import URL, create_engine, text

ACCOUNT = "postgres"
"""Who runs the server when the tests run as root, which initdb refuses."""
TRIES = 3


class Cluster:
    """One server with as many empty schemas as are asked for; `password` is that of its only user."""

    def __init__(self) -> None:
        self._bin = _programs()
        self._folder = Path(tempfile.mkdtemp(prefix="keymote-postgresql-"))
        self._as: Sequence[str] = ()
        if os.geteuid() == 0:
            account = pwd.getpwnam(ACCOUNT)
            os.chown(self._folder, account.pw_uid, account.pw_gid)
            self._as = ("runuser", "-u", ACCOUNT, "--")
        self.password = secrets.token_urlsafe(16)
        self._schemas = 0
        self.port = 0
        word = self._folder / "word"
        word.write_text(self.password)
        word.chmod(0o644)  # whatever the umask is: programs of ours narrow it
        options = ("--username=keymote", "--auth=scram-sha-256", f"--pwfile={word}", "--no-sync", "--encoding=UTF8")
        self._run("initdb", "--pgdata", str(self._data), *options)
        self._start_somewhere()

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _start_somewhere(self) -> None:
        """Start on a free port: somebody else may have taken it when the server asks for it."""
        for left in reversed(range(TRIES)):
            with socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = int(probe.getsockname()[1])
            try:
                self.start()
            except AssertionError:
                if not left:
                    raise
            else:
                return

    def start(self) -> None:
        settings = f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories={self._folder}"
        log = str(self._folder / "log")
        self._run("pg_ctl", "start", "--wait", "--pgdata", str(self._data), "--log", log, "--options", settings)

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; `immediate` is what a power failure leaves, but for what the system still writes."""
        self._run("pg_ctl", "stop", "--wait", "--mode", mode, "--pgdata", str(self._data))

    def remove(self) -> None:
        self.stop("immediate")
        shutil.rmtree(self._folder)

    @property
    def url(self) -> str:
        """Where its one database is."""
        made = URL.create("postgresql", "keymote", self.password, "127.0.0.1", self.port, "postgres")
        return made.render_as_string(hide_password=False)

    def fresh(self) -> str:
        """Return the URL of a new, empty schema: a thousandth of the files of a database."""
        self._schemas += 1
        name = f"test{self._schemas}"
        engine = create_engine(self.url)
        with engine.begin() as connection:
            connection.execute(text(f"CREATE SCHEMA {name}"))
        engine.dispose()
        return f"{self.url}?options=-csearch_path%3D{name}"

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as, str(self._bin / program), *arguments]
        ran = subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/", timeout=60, check=False
        )
        if ran.returncode != 0:
            raise AssertionError(f"{program}: {ran.stderr.decode(errors='replace')}")


def _programs() -> Path:
    """Return the folder of initdb and pg_ctl: Debian keeps them off PATH, one folder a version."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not folders:
        pytest.fail("PostgreSQL is not installed: run `make peers`")
    return folders[-1].parent
