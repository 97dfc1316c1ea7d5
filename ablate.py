"""The same as `bamjax ablate`; see `python ablate.py --help`."""

from bamjax.commands import process

if __name__ == "__main__":
  process.run_script("ablate")
