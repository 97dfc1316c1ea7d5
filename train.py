"""The same as `bamjax train`; see `python train.py --help`."""

from bamjax.commands import entry

if __name__ == "__main__":
  entry.run("train")
