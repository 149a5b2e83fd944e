"""This machine: the store, its disk, its GPUs, and what is installed."""

import os
import platform
import shutil
import stat
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import django
from django.conf import settings
from rich.filesize import decimal

from webapp.operate.doctor.lines import Remark, graded
from webapp.operate.version import version as stillhouse_version
from webapp.servers import home

FEW, TOO_FEW = 0.10, 0.02
"""Shares of a disk that are free when it is time to act, and when it is too late."""

GPU_DEVICES = "nvidia[0-9]*"


def versions() -> Iterator[Remark]:
    found = f"Stillhouse {stillhouse_version()}, Python {platform.python_version()}, Django {django.get_version()}"
    try:
        yield Remark("ok", "versions", f"{found}, torch {version('torch')}")
    except PackageNotFoundError:
        yield Remark("ok", "versions", f"{found}, no torch here: this machine serves pages only")


def store() -> Iterator[Remark]:
    path = Path(settings.STORE)
    if not path.is_dir():
        mount = "make the folder, or mount it; workers and web must see the same one"
        named = path != home() / "store"
        yield graded("store", f"{path} does not exist{'' if named else '; the first run makes it'}", problem=mount if named else "")
        return
    probe = path / f".doctor-{os.getpid()}"
    try:
        probe.write_bytes(b"0")
        probe.unlink()
    except OSError as error:
        yield Remark(
            "problem", "store", f"{path} can't be written to: {error.strerror}", "give the account of Stillhouse the right to write there"
        )
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    open_to_others = f"chmod 0700 {path}: other accounts of this machine may enter it" if mode & 0o077 else ""
    yield graded("store", f"{path} can be written to, mode {mode:04o}", warning=open_to_others)


def disks() -> Iterator[Remark]:
    for name, path in (("disk of the store", Path(settings.STORE)), ("disk of STILLHOUSE_HOME", home())):
        if not path.is_dir():
            continue
        disk = shutil.disk_usage(path)
        share = disk.free / disk.total
        full = "make room: manage.py retain --dry-run says what may go; runs fail when nothing is left"
        words = f"{decimal(disk.free)} of {decimal(disk.total)} free"
        yield graded(name, words, warning=full if share < FEW else "", problem=full if share < TOO_FEW else "")


def gpus() -> Iterator[Remark]:
    """A GPU without its driver is offered by no worker, and nobody is told why."""
    there = list(Path("/dev").glob(GPU_DEVICES)) or Path("/proc/driver/nvidia").exists()
    program = shutil.which("nvidia-smi")
    if program is None:
        missing = "install NVIDIA's driver with nvidia-smi, or in a container its toolkit; without it workers offer no GPU" if there else ""
        yield graded("GPUs", "there is a GPU, but no nvidia-smi" if there else "none on this machine", problem=missing)
        return
    query = [program, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    asked = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    if asked.returncode != 0:
        yield Remark(
            "problem",
            "GPUs",
            f"nvidia-smi ends with {asked.returncode}",
            "its driver does not answer: run nvidia-smi and read what it says",
        )
        return
    yield Remark("ok", "GPUs", "; ".join(line.strip() for line in asked.stdout.splitlines()) or "none")
