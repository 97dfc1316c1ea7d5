"""The same as `bamjax upscale`; see `python upscale.py --help`."""

from bamjax.commands import process

if __name__ == "__main__":
  process.run_script("upscale")
