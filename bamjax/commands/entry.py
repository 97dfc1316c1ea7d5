"""Where scripts and the program `bamjax` begin, before longer imports."""

from typing import NoReturn

from bamjax.commands import interruption


def main() -> NoReturn:
  """Runs `bamjax`, see `cli.main`."""
  interruption.end_at_once()
  from bamjax.commands import cli

  cli.main()


def run(name: str) -> NoReturn:
  """Runs a command as a script, see `cli.run`."""
  interruption.end_at_once()
  from bamjax.commands import cli

  cli.run(name)
