"""The same as `bamjax benchmark`; see `python benchmark.py --help`."""

from bamjax.commands import cli

if __name__ == "__main__":
  cli.run("benchmark")
