"""What the process that scripts are forked from imports."""

from bamjax import exporting  # noqa: F401
from bamjax.commands import cli  # noqa: F401
from bamjax.data import lazy_tensorflow
from bamjax.evaluation import suite  # noqa: F401
from bamjax.report import document  # noqa: F401
from bamjax.training import loop  # noqa: F401
from bamjax.upscaling import batch  # noqa: F401

lazy_tensorflow.load()
