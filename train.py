"""The same as `bamjax train`; see `python train.py --help`."""

from bamjax.commands import cli

if __name__ == "__main__":
  cli.run("train")
