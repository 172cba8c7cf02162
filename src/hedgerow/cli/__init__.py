"""The command line. Verbs parse, call and print; what they call lives in the rooms below.

Exit codes: 0 all done; 3 finished, some rows marked; anything else not done (1 one line says why, 2 wrong usage,
130 stopped by Ctrl-C, 143 by a terminate signal).
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

import click
import typer
import typer.core

from hedgerow.errors import HedgerowError

PROG = "hedgerow"
COMPLETE = "_HEDGEROW_COMPLETE"  # click's name for it: what the completion script sets


class _InOrder(typer.core.TyperGroup):
    """Verbs as people need them; typer would put those that have verbs of their own first."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """``data`` stands before ``export``."""
        names = [name for name in super().list_commands(ctx) if name != "data"]
        at = names.index("export")
        return [*names[:at], "data", *names[at:]]


class _Terminated(BaseException):
    """A terminate signal, raised where the program stands so that temporary files are cleaned up."""


def _application() -> typer.Typer:
    """Every verb in the order in which people need them."""
    from hedgerow.cli import build, catalogue, data, look, place, records, root, use, weigh

    app = typer.Typer(
        name=PROG,
        cls=_InOrder,
        add_completion=False,  # root.py has options that name the shell, so that they also work in a script
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(root.root)
    verbs = (
        build.systems,
        build.build,
        use.use,
        look.show,
        weigh.weigh,
        look.compare,
        catalogue.catalogue,
        place.place,
        build.export,
    )
    for verb in verbs:
        app.command()(verb)
    app.add_typer(records.group(data.data), name="data")
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; whatever goes wrong ends as one line on stderr."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if COMPLETE in os.environ:
        return _complete()
    streams = sys.stdout, sys.stderr
    try:
        _prepare_streams()
        _clean_up_when_terminated()
        code = typer.main.get_command(_application()).main(arguments, prog_name=PROG, standalone_mode=False)
        sys.stdout.flush()
    except HedgerowError as e:
        return _fail(1, str(e))
    except click.ClickException as e:
        return _fail(2, _usage(e))
    except (KeyboardInterrupt, click.Abort):
        code = 130
    except _Terminated:
        return _fail(143, f"terminated; {_what_is_left(arguments)}")
    except BrokenPipeError:  # `hedgerow show … | head`: nobody reads on, which is no fault
        _discard_output()
        return 141
    except OSError as e:  # a fault of the machine, not of hedgerow: no permission, a vanished folder, a broken disk
        return _fail(1, f"{e.filename or 'the system'}: {e.strerror or e}")
    except MemoryError:
        return _fail(1, "this machine has not enough memory for that")
    finally:
        sys.stdout, sys.stderr = streams
    if code == 130:
        return _fail(130, f"stopped by Ctrl-C; {_what_is_left(arguments)}")
    return code if isinstance(code, int) else 0


def _complete() -> int:
    """Answer the shell, which sets ``COMPLETE``; a fault must not print into the line that is being typed."""
    from typer._completion_classes import completion_init

    completion_init()
    try:
        _application()(prog_name=PROG)
    except HedgerowError:
        return 1
    return 0


def _fail(code: int, line: str) -> int:
    print(f"{PROG}: {' '.join(line.split())}", file=sys.stderr)
    return code


_STOPPED = {
    "build": "the same command goes on where this one stopped",
    "weigh": "the rows that were finished are kept",
}


def _what_is_left(arguments: Sequence[str]) -> str:
    verb = next((a for a in arguments if not a.startswith("-")), "")
    return _STOPPED.get(verb, "nothing half-written was left")


def _usage(error: click.ClickException) -> str:
    """Click's message with a near spelling, in our words and on one line."""
    from hedgerow.errors import did_you_mean

    context = getattr(error, "ctx", None)
    message = error.format_message().split(". Did you mean")[0].rstrip(".")
    if isinstance(error, click.NoSuchOption) and context is not None:
        message = f"no such option '{error.option_name}'"
        options = [o for p in context.command.get_params(context) for o in p.opts if o.startswith("--")]
        message += did_you_mean(error.option_name, options)
    elif context is not None and isinstance(context.command, click.Group) and "No such command" in message:
        message += did_you_mean(message.split("'")[1], context.command.commands)
    command = context.command_path if context is not None else PROG
    return f"{message[:1].lower()}{message[1:]}; see {command} --help"


def _prepare_streams() -> None:
    """A character that the terminal cannot show is replaced instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _clean_up_when_terminated() -> None:
    import signal
    import threading

    def stop(signum: int, frame: object) -> None:
        raise _Terminated

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)


def _discard_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
