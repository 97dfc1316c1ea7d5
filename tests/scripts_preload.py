"""What the process that scripts are forked from imports."""

from bamjax import exporting  # noqa: F401
from bamjax.commands import evaluate  # noqa: F401
from bamjax.commands import report as page  # noqa: F401
from bamjax.commands import upscale  # noqa: F401
from bamjax.data import lazy_tensorflow
from bamjax.training import loop  # noqa: F401

lazy_tensorflow.load()
