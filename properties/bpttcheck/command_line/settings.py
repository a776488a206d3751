"""The options that a project repeats: the table ``[tool.bpttcheck]`` of its pyproject.toml, as defaults of a command.

A key is a long option without its dashes, or the name of the arguments. The nearest file upwards that has the table
counts; files that it names are looked for from its folder.
"""

import tomllib
from pathlib import Path
from typing import Any

import click

from bpttcheck.misspelt import did_you_mean

_TABLE = "[tool.bpttcheck]"


def read_settings(command: click.Command, start: Path) -> dict[str, Any]:
    """Defaults by the names of a command's parameters. Raises ValueError, with a sentence, and OSError."""
    for folder in (start, *start.parents):
        file = folder / "pyproject.toml"
        if file.is_file():
            try:
                match tomllib.loads(file.read_text(encoding="utf-8")):
                    case {"tool": {"bpttcheck": dict() as table}}:
                        return _defaults(command, table, Path() if folder == start else folder)
                    case {"tool": {"bpttcheck": other}}:
                        raise ValueError(f"{_TABLE} must be a table, not {other!r}")
            except ValueError as error:  # also raised for text that is not TOML
                raise ValueError(f"{file}: {error}") from error
    return {}


def _defaults(command: click.Command, table: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Raises ValueError, with a sentence that names the key."""
    parameters = {max(p.opts, key=len).removeprefix("--"): p for p in command.params}
    defaults = {}
    for key, value in table.items():
        if key not in parameters:
            near = did_you_mean(key, parameters)
            raise ValueError(f"there is no {key!r} in {_TABLE}, which takes {', '.join(sorted(parameters))}{near}")
        parameter = parameters[key]
        kind, name = _kind(parameter)
        if type(value) not in kind or (type(value) is list and not all(isinstance(item, str) for item in value)):
            raise ValueError(f"{key} in {_TABLE} must be {name}, not {value!r}")
        if isinstance(parameter, click.Option) and parameter.is_flag:
            if value:
                defaults[parameter.name] = True if parameter.is_bool_flag else parameter.flag_value
            continue
        if isinstance(value, str) and (isinstance(parameter.type, click.Path) or ".py:" in value):
            value = str(folder / value)
        elif isinstance(value, list):
            value = [str(folder / item) if ".py:" in item else item for item in value]
        try:
            parameter.process_value(click.Context(command), value)
        except click.UsageError as error:
            raise ValueError(f"{key} in {_TABLE}: {error.message}") from error
        defaults[parameter.name] = value
    return defaults


def _kind(parameter: click.Parameter) -> tuple[tuple[type, ...], str]:
    """The types of TOML that a parameter takes, and their names."""
    if parameter.multiple or parameter.nargs == -1:
        return (list,), "a list of strings"
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return (bool,), "true or false"
    if isinstance(parameter.type, click.IntRange):
        return (int,), "a whole number"
    if isinstance(parameter.type, click.FloatRange):
        return (int, float), "a number"
    return (str,), "a string"
