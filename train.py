"""The same as `bamjax train`; see `python train.py --help`."""

from bamjax.commands import process

if __name__ == "__main__":
  process.run_script("train")
