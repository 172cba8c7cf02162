"""Options of ``hedgerow`` itself: version and shell completion."""

from __future__ import annotations

from typing import Annotated

import typer

SHELLS = ("bash", "zsh", "fish", "powershell")


def _version(wanted: bool) -> None:
    if wanted:
        from hedgerow import __version__

        print(f"hedgerow {__version__}")
        raise typer.Exit


def _known(shell: str) -> str:
    if shell not in SHELLS:
        from hedgerow.errors import did_you_mean

        raise typer.BadParameter(f"'{shell}' has no completion here{did_you_mean(shell, SHELLS)}")
    return shell


def _show_completion(shell: str | None) -> None:
    if shell is not None:
        from typer._completion_shared import get_completion_script

        print(get_completion_script(prog_name="hedgerow", complete_var="_HEDGEROW_COMPLETE", shell=_known(shell)))
        raise typer.Exit


def _install_completion(shell: str | None) -> None:
    if shell is not None:
        from typer._completion_shared import install

        name, path = install(shell=_known(shell), prog_name="hedgerow", complete_var="_HEDGEROW_COMPLETE")
        print(f"{name} completion is in {path}; it works from the next terminal on")
        raise typer.Exit


def _shells() -> list[str]:
    return list(SHELLS)


def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)
    ] = False,
    show_completion: Annotated[
        str | None,
        typer.Option(
            metavar="SHELL",
            help="Print the completion script for bash, zsh, fish or powershell.",
            is_eager=True,
            callback=_show_completion,
            autocompletion=_shells,
        ),
    ] = None,
    install_completion: Annotated[
        str | None,
        typer.Option(
            metavar="SHELL",
            help="Install completion for that shell.",
            is_eager=True,
            callback=_install_completion,
            autocompletion=_shells,
        ),
    ] = None,
) -> None:
    """Grow small models for the devices you own: build them, weigh what they cost, place them where they run best."""
