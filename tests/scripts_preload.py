"""What the process that scripts are forked from imports."""

from bamjax import exporting  # noqa: F401
from bamjax import upscaling  # noqa: F401
from bamjax.data import tensorflow
from bamjax.report import session  # noqa: F401
from bamjax.report.page import session as page  # noqa: F401
from bamjax.training import loop  # noqa: F401

tensorflow.load()
