"""What people at a terminal are told; in colours, if it is one that wants them."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from typing import Final, NoReturn, TypeAlias

import click

Say: TypeAlias = Callable[[str], object]
"""Shows a line."""
_WRONG_SETTINGS: Final = 2


def open_standard_descriptors() -> None:
    """Open those of the descriptors 0, 1 and 2 that whoever started this has closed, to nothing; workers inherit them.

    Else the next socket or pipe has that number, and is taken for what the number stands for: logged into, say.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free one is this


def say_check(line: str) -> None:
    """Say a line of ``check``, its mark in colour."""
    colour = {"ok": "green", "WARN": "yellow", "FAIL": "red"}.get(line[:4].strip())
    click.echo(f"{click.style(line[:4], fg=colour)}{line[4:]}" if colour else line)


def warn(warnings: list[str]) -> None:
    """Say what may be wrong with the settings."""
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)


def complain(faults: list[str], warnings: list[str]) -> NoReturn:
    """Say what is wrong with the settings, after what may be, and exit."""
    warn(warnings)
    click.echo(f"{len(faults)} setting(s) cannot be used:", err=True)
    for fault in faults:
        click.echo(f"  {fault}", err=True)
    sys.exit(_WRONG_SETTINGS)


def cannot_listen(host: str, port: int, error: OSError, *, port_option: str = "--port") -> str:
    """What to say where an address cannot be had, and which option may help: that of the port, or that of the host."""
    taken = error.errno in (errno.EADDRINUSE, errno.EACCES)
    advice = f"choose another with {port_option}" if taken else "is --host (PROXY_HOST) an address of this machine?"
    shown = f"[{host}]" if ":" in host else host
    return f"cannot listen on {shown}:{port}: {error.strerror}; {advice}"


def fail(message: str) -> NoReturn:
    """Say what could not be done, and exit."""
    click.echo(f"{click.style('error:', fg='red')} {message}", err=True)
    sys.exit(1)
