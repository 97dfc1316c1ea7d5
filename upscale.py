"""The same as `bamjax upscale`; see `python upscale.py --help`."""

from bamjax.commands import cli

if __name__ == "__main__":
  cli.run("upscale")
