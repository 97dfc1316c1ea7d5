"""The same as `bamjax report`; see `python report.py --help`."""

from bamjax.commands import cli

if __name__ == "__main__":
  cli.run("report")
