"""The same as `bamjax ablate`; see `python ablate.py --help`."""

from bamjax.commands import cli

if __name__ == "__main__":
  cli.run("ablate")
