"""The same as `bamjax upscale`; see `python upscale.py --help`."""

from bamjax.commands import entry

if __name__ == "__main__":
  entry.run("upscale")
