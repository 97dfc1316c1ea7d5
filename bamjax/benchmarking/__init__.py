"""Speed of networks, measured as in the BAM paper (eq. 7, figure 6).

FPS = frames / total inference time, each frame awaited before the next begins.
Compilation is reported apart and warm-up is not counted. All that is compared
(control, BAM, and a rival's forms of both) takes turns, round by round, so that
a machine that slows down slows them alike.
"""

from bamjax.benchmarking.plan import default_plan
from bamjax.benchmarking.plan import Plan
from bamjax.benchmarking.sweep import run

__all__ = ["Plan", "default_plan", "run"]
