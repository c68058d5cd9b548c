"""A PostgreSQL and a MariaDB of the tests' own: in a temporary folder, on a random port, gone at the end."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MARIADB = Path(__file__).parents[2] / ".build/mariadb"


@dataclass(frozen=True)
class Server:
    """How to reach it on 127.0.0.1, without a password."""

    user: str
    port: int
    database: str


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _user() -> str | None:
    """Whom the servers run as: nobody special where the tests run as root, which both servers refuse."""
    return None if os.getuid() else "nobody"


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="rscalene-sql-"))
    try:
        if user := _user():
            entry = pwd.getpwnam(user)
            os.chown(folder, entry.pw_uid, entry.pw_gid)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _running(command: list[str], folder: Path, port: int, environment: dict[str, str]) -> Iterator[None]:
    log = folder.parent / f"{folder.name}.log"
    with log.open("w") as file:
        server = subprocess.Popen(
            command, cwd=folder, stdout=file, stderr=file, user=_user(), env={**os.environ, **environment}
        )
    try:
        until = time.monotonic() + 60
        while True:
            if server.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the server did not start:\n{log.read_text()}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield
    finally:
        server.send_signal(signal.SIGINT if "postgres" in command[0] else signal.SIGTERM)
        server.wait(60)
        log.unlink()


@contextlib.contextmanager
def postgresql() -> Iterator[Server]:
    """Run a PostgreSQL."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    programs = versions[-1] if versions else Path(shutil.which("initdb") or "/usr/bin/initdb").parent
    with _folder() as folder:
        make = [str(programs / "initdb"), "-D", str(folder / "data"), "-A", "trust", "-U", "tester", "--no-sync"]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL, user=_user(), cwd=folder)
        port = _free_port()
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(folder),
            "fsync": "off",
            "shared_buffers": "16MB",
        }
        command = [str(programs / "postgres"), "-D", str(folder / "data"), "-p", str(port)]
        command += [word for key, value in options.items() for word in ("-c", f"{key}={value}")]
        with _running(command, folder, port, {}):
            yield Server("tester", port, "postgres")


@contextlib.contextmanager
def mariadb() -> Iterator[Server]:
    """Run a MariaDB, unpacked by tests/install-databases or installed."""
    unpacked = (MARIADB / "done").exists()
    base = MARIADB / "usr" if unpacked else Path("/usr")
    environment = {"LD_LIBRARY_PATH": str(base / "lib/x86_64-linux-gnu")} if unpacked else {}
    share = base / "share/mysql"
    with _folder() as folder:
        data = folder / "data"
        common = [
            str(base / "sbin/mariadbd"),
            "--no-defaults",
            f"--datadir={data}",
            f"--lc-messages-dir={share}",
            f"--character-sets-dir={share / 'charsets'}",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-buffer-pool-size=16M",
            "--innodb-log-file-size=4M",
            "--pid-file=" + str(folder / "pid"),
        ]
        data.mkdir()
        if user := _user():
            entry = pwd.getpwnam(user)
            os.chown(data, entry.pw_uid, entry.pw_gid)
        script = "create database mysql;\nuse mysql;\n" + "".join(
            (share / name).read_text() for name in ("mysql_system_tables.sql", "mysql_system_tables_data.sql")
        )
        made = subprocess.run(
            [*common, "--bootstrap", "--skip-networking"],
            input=script + "\ncreate database test character set utf8mb4;\n",
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            user=_user(),
            cwd=folder,
            env={**os.environ, **environment},
        )
        assert made.returncode == 0, made.stdout
        port = _free_port()
        command = [
            *common,
            "--skip-grant-tables",
            "--skip-networking=0",
            "--bind-address=127.0.0.1",
            f"--port={port}",
            f"--socket={folder / 'socket'}",
        ]
        with _running(command, folder, port, environment):
            yield Server("tester", port, "test")
