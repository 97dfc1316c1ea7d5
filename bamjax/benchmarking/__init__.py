"""Speed of networks, measured as in the BAM paper (eq. 7, figure 6).

FPS = frames / total inference time; each frame is finished before the next
begins. Compilation is reported separately, and warm-up is not counted. Control,
BAM and the same networks in a rival package are timed in interleaved rounds, so
a machine that slows down affects all of them.
"""

from bamjax.benchmarking.plan import default_plan
from bamjax.benchmarking.plan import Plan
from bamjax.benchmarking.sweep import run

__all__ = ["Plan", "default_plan", "run"]
