"""The outputs for a request's result: a stream, a file for each request, the kept requests, JSON lines."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rscalene.locks import ForkLock
from rscalene.web import formats, text
from rscalene.web.failures import failures
from rscalene.web.result import RequestResult, write_whole

if TYPE_CHECKING:
    from rscalene.web.options import Options

# File systems allow names of 255 bytes; the rest is for suffixes such as `-2`, and for a temporary name.
LONGEST_NAME = 200
UNSAFE = re.compile(r"[/\x00-\x1f\x7f]")


class Outputs:
    """Writes results as the options say. A failure of an output affects neither the other outputs nor the request."""

    def __init__(self, options: Options) -> None:
        """Make the folder ``profile_dir``, if the options name a folder."""
        self.options = options
        self._lock = ForkLock()
        if options.profile_dir is not None:
            try:
                os.makedirs(options.profile_dir, exist_ok=True)
            except OSError as error:
                self._tell(f"cannot make `{options.profile_dir}`", error)

    def write(self, result: RequestResult, raw: Any) -> None:
        """Write a result to each output."""
        options = self.options
        steps = []
        if options.stream is not None:
            steps.append(("cannot write the table of a request", self._to_stream))
        if options.profile_dir is not None and options.functions:
            steps.append(("cannot write the file of a request", self._to_file))
        if options.pages:
            steps.append(("cannot keep a request", self._keep))
        if options.jsonl is not None:
            steps.append(("cannot write JSON lines", self._to_lines))
        for what, step in steps:
            try:
                step(result, raw)
            except Exception as error:
                self._tell(what, error)

    def _tell(self, what: str, error: BaseException) -> None:
        failures.tell(what, error)

    def _to_stream(self, result: RequestResult, raw: Any) -> None:
        options = self.options
        out = text.block(result, result.about.path, options.sort_by, options.restrictions)
        if options.details:
            out += f"{text.line_table(result.to_dict())}\n"
        stream = sys.stdout if options.stream == "stdout" else options.stream
        if isinstance(stream, logging.Logger):
            stream.info("%s", out)
        elif isinstance(stream, (str, os.PathLike)):
            append(Path(stream), out.encode())
        else:
            # Write once, so that the tables of overlapping requests do not mix.
            stream.write(out)

    def _to_file(self, result: RequestResult, raw: Any) -> None:
        folder = Path(str(self.options.profile_dir))
        name = self.file_name(result, raw)
        folder.mkdir(parents=True, exist_ok=True)
        data = formats.encode(result.to_dict, result, name)
        with self._lock:
            path = free_name(folder, name)
            write_whole(path, data)

    def file_name(self, result: RequestResult, raw: Any) -> str:
        """Return the name of a request's file."""
        about, name_format = result.about, self.options.filename_format
        if callable(name_format):
            if isinstance(raw, dict):
                raw["werkzeug.profiler"] = {"elapsed": result.elapsed_s * 1e3, "time": time.time()}
                raw["rscalene.request"] = result
            return cut(UNSAFE.sub("_", name_format(raw)), "")
        path = about.path.strip("/").replace("/", ".") or "root"
        path = UNSAFE.sub("_", path)
        fields = {
            "method": about.method, "elapsed": result.elapsed_s * 1e3, "time": time.time(), "status": about.status or 0,
            "route": UNSAFE.sub(".", (about.route or "").strip("/")) or "root", "pid": about.pid, "n": about.number,
            "id": about.id,
        }  # fmt: skip
        name = UNSAFE.sub("_", name_format.format(path=path, **fields))
        over = len(name.encode()) - LONGEST_NAME
        if over > 0 and len(path.encode()) > over:
            path = path.encode()[:-over].decode(errors="ignore")
            name = UNSAFE.sub("_", name_format.format(path=path, **fields))
        return cut(name, os.path.splitext(name)[1])

    def _keep(self, result: RequestResult, raw: Any) -> None:
        folder = private_folder(self.options.folder)
        about = result.about
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(about.started_at))
        name = f"{stamp}{int(about.started_at % 1 * 1e6):06d}-{about.pid}-{about.number}-{about.id}.json"
        write_whole(folder / name, json.dumps(result.to_dict(), separators=(",", ":")).encode())
        prune(folder, self.options.keep)

    def _to_lines(self, result: RequestResult, raw: Any) -> None:
        from rscalene.web.jsonl import lines

        data = "".join(json.dumps(one, separators=(",", ":")) + "\n" for one in lines(result, self.options))
        if isinstance(self.options.jsonl, (str, os.PathLike)):
            append(Path(self.options.jsonl), data.encode())
        else:
            self.options.jsonl.write(data)


def append(path: Path, data: bytes) -> None:
    """Append to a file in a single write, so that several processes may use the file."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        while data:
            data = data[os.write(handle, data) :]
    finally:
        os.close(handle)


def cut(name: str, ending: str) -> str:
    """Return ``name``, cut to a length allowed by file systems."""
    data = name.encode(errors="replace")
    if len(data) > LONGEST_NAME:
        name = data[: LONGEST_NAME - len(ending.encode())].decode(errors="ignore") + ending
    return name if name not in ("", ".", "..") else "_"


def free_name(folder: Path, name: str) -> Path:
    """Return an unused path: ``name``, or ``name`` with ``-2``, ``-3``, ... before its ending."""
    path = folder / name
    if not path.exists():
        return path
    stem, ending = os.path.splitext(name)
    number = 2
    while (folder / f"{stem}-{number}{ending}").exists():
        number += 1
    return folder / f"{stem}-{number}{ending}"


def private_folder(folder: Path) -> Path:
    """Make a folder with access for this user only; OSError if the folder belongs to another user."""
    shared = folder.parent.name.startswith("rscalene")
    for one in (folder.parent, folder) if shared else (folder,):
        one.mkdir(mode=0o700, parents=True, exist_ok=True)
        if one.is_symlink() or one.stat().st_uid != os.getuid():
            raise PermissionError(f"`{one}` belongs to another user\nhint: name a folder with `profile_dir`")
    return folder


def kept(folder: Path) -> list[str]:
    """Return the names of kept requests, the newest first."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return sorted((name for name in names if KEPT.fullmatch(name)), reverse=True)


KEPT = re.compile(r"\d{8}T\d{12}-\d+-\d+-[0-9a-f]{32}\.json")


def prune(folder: Path, keep: int) -> None:
    """Remove all kept requests but the ``keep`` newest."""
    for name in kept(folder)[keep:]:
        (folder / name).unlink(missing_ok=True)
