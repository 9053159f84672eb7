"""The command ``generations-proxy``.

Exit statuses: see :data:`_EPILOG`. Nothing is coloured but for a terminal, and not there if ``NO_COLOR`` is set.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from typing import Final

import click
from click.shell_completion import get_completion_class

from proxy import NAME, __version__
from proxy.commands.terminal import cannot_listen, complain, fail, open_standard_descriptors, say_check, warn
from proxy.config import sources
from proxy.config.faults import TO_SERVE
from proxy.log_format import wants_colours
from proxy.settings import Settings

_config_option = click.option(
    "--config", "config_path", metavar="FILE", help=f"TOML file with settings (default: ${sources.CONFIG})."
)


_EPILOG: Final = """\b
Exit status:
  0  all is well
  1  it could not be done, or check found a fault
  2  the command line or the settings are wrong

Settings come from the environment and a TOML file; the README lists them. "generations-proxy demo" needs none.
"""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}, epilog=_EPILOG.strip())
@click.version_option(__version__, prog_name=NAME)
@click.pass_context
def main(context: click.Context) -> None:
    """A caching proxy in front of the Oxen hub's read API for AI image and video generations."""
    open_standard_descriptors()  # before anything else opens any
    if not wants_colours(os.environ):
        context.color = False  # else click decides: colours for a terminal only


@main.command(short_help="Run the proxy.")
@click.option("--host", help="Address to listen on (default: $PROXY_HOST, else 127.0.0.1).")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port (default: $PROXY_PORT, else 8080).")
@click.option("--workers", type=click.IntRange(1), help="Processes (default: $PROXY_WORKERS, else 1).")
@_config_option
def serve(host: str | None, port: int | None, workers: int | None, config_path: str | None) -> None:
    """Run the proxy until it is told to stop.

    SIGTERM turns readiness false, then drains; Ctrl-C drains at once.
    """
    from proxy.commands.serve import run_server  # noqa: PLC0415  uvicorn is not needed to print help

    given = {"PROXY_HOST": host, "PROXY_PORT": port, "PROXY_WORKERS": workers, sources.CONFIG: config_path}
    # Into the environment, where the workers' processes find them.
    os.environ.update({name: str(value) for name, value in given.items() if value is not None})
    settings = _settings(os.environ)
    try:
        run_server(settings)
    except OSError as error:
        fail(cannot_listen(settings.server.host, settings.server.port, error))
    except KeyboardInterrupt:
        pass


@main.command(short_help="Run the proxy before a simulated hub; nothing to configure.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8080,
    show_default=True,
    help="Port of the proxy; a free one is taken if it is busy.",
)
@click.option(
    "--hub-port", type=click.IntRange(0, 65_535), default=0, help="Port of the simulated hub (default: a free one)."
)
@click.option(
    "--callers",
    type=click.IntRange(0, 200),
    default=24,
    show_default=True,
    help="Simulated dashboards that ask the proxy, once a second each.",
)
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="Stop after so long (default: at Ctrl-C).")
def demo(port: int, hub_port: int, callers: int, seconds: float | None) -> None:
    """Run a simulated hub and the proxy together on loopback; nothing to configure."""
    from proxy.commands.demo import run_demo  # noqa: PLC0415  loaded when used

    try:
        asyncio.run(run_demo(port=port, hub_port=hub_port, callers=callers, seconds=seconds, say=click.echo))
    except OSError as error:
        fail(cannot_listen("127.0.0.1", hub_port, error, port_option="--hub-port"))


@main.command(short_help="Run the simulated hub alone.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8090, show_default=True, help="Port on 127.0.0.1.")
@click.option("--api-key", default="demo-key", show_default=True, help="The token that it accepts.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of everything random.")
@click.option(
    "--speed",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="How fast generations come and run; 0 freezes the world.",
)
@click.option(
    "--history",
    type=click.IntRange(0, 100_000),
    default=180,
    show_default=True,
    help="Past generations of each namespace.",
)
@click.option(
    "--link-lifetime",
    type=click.FloatRange(min=1),
    default=3600.0,
    show_default=True,
    help="Seconds for which presigned URLs are good.",
)
def simulate(port: int, api_key: str, seed: int, speed: float, history: int, link_lifetime: float) -> None:
    """Run the simulated hub alone, to try things against."""
    from proxy.commands.demo import run_simulator  # noqa: PLC0415  loaded when used
    from proxy.simulator import Simulator, World  # noqa: PLC0415  loaded when used

    world = World(seed=seed, speed=speed, history=history)
    simulator = Simulator(world, api_key=api_key, link_lifetime=link_lifetime)
    try:
        asyncio.run(run_simulator(simulator, port, say=click.echo))
    except OSError as error:
        fail(cannot_listen("127.0.0.1", port, error))


@main.command(short_help="Check settings, hub, token and Redis.")
@_config_option
def check(config_path: str | None) -> None:
    """Check the settings, the hub, its answers, the JWK set and Redis; exit with 0 if all are as they should be."""
    from proxy.commands.check import run_checks  # noqa: PLC0415  loaded when used

    sys.exit(0 if asyncio.run(run_checks(os.environ, config_path, say=say_check)) else 1)


@main.command(short_help="Make a caller's key and its settings.")
@click.argument("name", default="web")
@click.option("--namespace", "namespaces", multiple=True, help="That may be seen; may be given again. '*': all.")
def key(name: str, namespaces: tuple[str, ...]) -> None:
    """Make a key for the caller NAME, and print the settings that let it in.

    The key itself is printed once and kept nowhere.
    """
    from proxy.callers.caller import digest, make_key  # noqa: PLC0415  loaded when used

    made = make_key()
    caller = {"name": name, "keys": [digest(made)], "namespaces": namespaces or ["your-namespace"]}
    try:
        sources.load({"PROXY_AUTH_CALLERS": json.dumps([caller])})
    except sources.SettingsError as error:
        complain(error.faults, [])
    # TOML knows no escapes in pairs, in which JSON's ASCII has what is beyond 16 bits.
    shown = {member: json.dumps(value, ensure_ascii=False) for member, value in caller.items()}
    click.echo(_KEY.format(key=made, **shown))


_KEY: Final = """\
# The key, for the caller: it sends it as Authorization: Bearer, or as X-API-Key.
{key}

# The settings, for the proxy's TOML file. A second digest in keys lets the caller go over to a new key.
[[auth.callers]]
name = {name}
keys = {keys}
namespaces = {namespaces}
unnamed = false  # true: may leave the namespace out, which then is the hub token's own\
"""


@main.command(short_help="Purge kept pages.")
@click.option("--url", default="http://127.0.0.1:8080", show_default=True, help="Where the proxy is.")
@click.option("--page", metavar="QUERY", help="A page, as in 'namespace=ox&page=2'.")
@click.option("--listing", metavar="QUERY", help="All pages of a listing, as in 'namespace=ox&status=failed'.")
@click.option("--namespace", metavar="NAME", help="All listings of a namespace.")
@click.option("--everything", is_flag=True, help="All there is.")
def purge(url: str, **what: str | bool | None) -> None:
    """Have all replicas serve nothing any more that was kept before now.

    The operator's key is taken from $PROXY_ADMIN_KEY, or from the file that $PROXY_ADMIN_KEY_FILE names.
    """
    from proxy.commands.purge import ADMIN_KEY, ADMIN_KEY_FILE, operators_key, run_purge  # noqa: PLC0415  loaded when used

    given = {name: value for name, value in what.items() if value not in (None, False)}
    if len(given) != 1:
        raise click.UsageError("Give exactly one of --page, --listing, --namespace and --everything.")
    if not any(os.environ.get(name) for name in (ADMIN_KEY, ADMIN_KEY_FILE)):
        meant = f"set it to the key that the proxy has as [admin] key, or {ADMIN_KEY_FILE} to its file"
        raise click.UsageError(f"{ADMIN_KEY} is not set; {meant}.")
    run_purge(url, operators_key(os.environ), given)
    click.echo("Purged.")


@main.command(short_help="Print a completion script for a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what has SHELL complete this command's words.

    \b
    bash:  eval "$(generations-proxy completion bash)"      in ~/.bashrc
    zsh:   eval "$(generations-proxy completion zsh)"       in ~/.zshrc, after compinit
    fish:  generations-proxy completion fish > ~/.config/fish/completions/generations-proxy.fish
    """  # noqa: D301  click looks for the control character, by which the lines stay apart
    made = get_completion_class(shell)
    assert made is not None  # noqa: S101  click has it for each of the choices
    click.echo(made(main, {}, NAME, "_GENERATIONS_PROXY_COMPLETE").source())


def _settings(environ: Mapping[str, str]) -> Settings:
    """The settings to serve with, or exit with all their faults."""
    try:
        loaded = sources.load(environ, None, *TO_SERVE)
    except sources.SettingsError as error:
        complain(error.faults, error.warnings)
    warn(loaded.warnings)
    return loaded.settings
