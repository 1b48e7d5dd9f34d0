"""The commands of `mot-trl`, a module each: `main(arguments)` parses the rest of the line and returns the exit status.

`mot_trl.cli.COMMANDS` lists them, and imports a module when its command is called. A module parses its flags before it
imports what takes seconds, such as torch, so that `--help` and a mistyped flag are answered at once; where flags come
from dataclasses of slow modules, `flags` reads these from their sources.
"""
