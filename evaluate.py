"""The same as `bamjax evaluate`; see `python evaluate.py --help`."""

from bamjax.commands import process

if __name__ == "__main__":
  process.run_script("evaluate")
