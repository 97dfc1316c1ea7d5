"""The same as `bamjax export`; see `python export.py --help`."""

from bamjax.commands import cli

if __name__ == "__main__":
  cli.run("export")
