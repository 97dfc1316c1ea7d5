"""The same as `bamjax evaluate`; see `python evaluate.py --help`."""

from bamjax.commands import cli

if __name__ == "__main__":
  cli.run("evaluate")
