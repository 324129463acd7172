"""The `jaxmia` command: a module for each subcommand, imported when it is asked for."""

import importlib
import sys
from types import ModuleType

from jaxmia.command.terminal import guarded, parsed, plain

# each has the options `Command`, whose docstring is its line of help, and `main(options)`
COMMANDS = {
    "score": "score",
    "audit": "audit",
    "attest": "attest",
    "audit-dp": "audit_dp",
    "export": "export",
    "report": "report",
    "doctor": "doctor",
}
DATA = {"prepare": "prepare", "list": "ready"}


def main(args: list[str] | None = None) -> None:
    """Ends the process: 0 done, 2 the input or the command was wrong, 1 anything else."""
    args = sys.argv[1:] if args is None else args
    prog, commands, more = "jaxmia", COMMANDS, ["data"]
    if args[:1] == ["data"]:
        prog, commands, more, args = "jaxmia data", DATA, [], args[1:]
    if args[:1] in (["-h"], ["--help"]):
        print(f"usage: {prog} {{{','.join([*commands, *more])}}}")
        for name in commands:
            print(f"  {name:<8} {_first_line(_module(commands[name]))}")
        raise SystemExit(0)
    if not args or args[0] not in commands:
        wrong = f"{args[0][:80]!r} is no command" if args else "name a command"
        names = ", ".join([*commands, *more])
        print(f"{plain(f'{prog}: {wrong}')}; known: {names}", file=sys.stderr)
        raise SystemExit(2)
    module = _module(commands[args[0]])
    options = parsed(module.Command, args[1:], prog=f"{prog} {args[0]}")
    guarded(lambda: module.main(options))


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"jaxmia.command.{name}")


def _first_line(module: ModuleType) -> str:
    return module.Command.__doc__.splitlines()[0]
