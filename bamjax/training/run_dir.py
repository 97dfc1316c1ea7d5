"""A run's folder: its lock, its configuration, its logs."""

import contextlib
import fcntl
import json
from pathlib import Path

import ml_collections
import numpy as np
import tensorboardX

from bamjax import config as config_lib
from bamjax.errors import UserError
from bamjax.training import distributed
from bamjax.training.checkpoints import Checkpoints
from bamjax.training.schedule import make_schedule
from bamjax.training.state import create_state
from bamjax.training.state import TrainState

CONFIG = "config.json"
METRICS = "metrics.jsonl"
SUMMARY = "summary.json"


@contextlib.contextmanager
def opened(path: Path, config: ml_collections.ConfigDict):
  """Holds a run's folder for one run, and its configuration in it.

  Process 0 looks after it; the others learn whether that went well.

  Raises:
    UserError: another run holds the folder, it cannot be written, or it is
      that of another configuration (which is then left as it is).
  """
  with contextlib.ExitStack() as stack:
    distributed.on_primary(lambda: stack.enter_context(_held(path, config)))
    yield


@contextlib.contextmanager
def _held(path: Path, config: ml_collections.ConfigDict):
  try:
    path.mkdir(parents=True, exist_ok=True)
    lock = (path / ".lock").open("w")
  except OSError as error:
    raise UserError(
      f"the run folder {path} cannot be written: {error.strerror}; give"
      " another --run_dir"
    ) from None
  with lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
      raise UserError(
        f"another process is training in {path}; wait for it, or give another"
        " --run_dir"
      ) from None
    if (path / CONFIG).exists():
      found = config_lib.differences(config_lib.load(path / CONFIG), config)
      if found:
        raise UserError(
          f"{path} holds another run ({'; '.join(found)}); give another"
          " --run_dir, or the command that the run was started with"
        )
    else:
      config_lib.save(config, path / CONFIG)
    yield


def load(path: Path, step: int | None = None):
  """Loads a run's network, and leaves its folder as it is.

  Args:
    path: the run's folder.
    step: a checkpoint's; None is the best by PSNR-Y.

  Returns:
    The configuration, the module, its variables (averaged over the steps, where
    the run keeps an average), and the checkpoint's step.

  Raises:
    UserError: the folder is no run's, or holds no such checkpoint.
  """
  config = config_lib.load(path / CONFIG)
  module = config_lib.build_model(config)
  if not (path / "checkpoints").is_dir():
    raise UserError(f"{path} holds no checkpoint; it has none yet")
  state = init_state(config, module)
  with contextlib.closing(Checkpoints(path, read_only=True)) as checkpoints:
    steps = checkpoints.steps()
    if not steps or (step is not None and step not in steps):
      wanted = "checkpoint" if step is None else f"checkpoint of step {step}"
      raise UserError(
        f"{path} holds no {wanted}; it has steps {steps or 'none'}"
      )
    step = checkpoints.best() if step is None else step
    state = checkpoints.restore_step(state, step)
  return config, module, {"params": state.averaged()}, step


def init_state(config: ml_collections.ConfigDict, module) -> TrainState:
  """The state at step 0 that a configuration names."""
  return create_state(
    module,
    make_schedule(config.optim, config.steps),
    config.seed,
    config.data.patch,
    clip_norm=config.optim.clip_norm,
    ema=config.optim.ema_decay > 0,
  )


class Logs:
  """metrics.jsonl, and TensorBoard's scalars and pictures, of a run.

  Rows hold what was computed and no wall-clock time, so that a resumed run's
  file equals that of an uninterrupted one.
  """

  def __init__(self, path: Path, step: int):
    """Opens the logs of a run that goes on from `step`; later rows go."""
    self._path = path / METRICS
    rows = []
    if self._path.exists():
      for line in self._path.read_text().splitlines():
        # A process that was killed may have left its last line unfinished.
        with contextlib.suppress(ValueError):
          row = json.loads(line)
          if row["step"] <= step:
            rows.append(line)
    self._path.write_text("".join(f"{row}\n" for row in rows))
    self._board = tensorboardX.SummaryWriter(
      str(path / "tensorboard"), purge_step=step + 1
    )

  def write(self, step: int, **scalars: float) -> None:
    """Writes one row, and each scalar to TensorBoard."""
    with self._path.open("a") as file:
      file.write(json.dumps({"step": step, **scalars}) + "\n")
    for name, value in scalars.items():
      self._board.add_scalar(name, value, step)

  def show(self, step: int, name: str, picture: np.ndarray) -> None:
    """Shows a picture, H×W×3 uint8, in TensorBoard."""
    self._board.add_image(name, picture, step, dataformats="HWC")

  def close(self) -> None:
    """Flushes TensorBoard's file, as far as the disk has room."""
    # An error here would hide the one that a run may be ending for.
    with contextlib.suppress(OSError):
      self._board.close()


class NoLogs:
  """What processes other than the first log: nothing."""

  def write(self, step: int, **scalars: float) -> None:
    """Writes nothing."""

  def show(self, step: int, name: str, picture: np.ndarray) -> None:
    """Shows nothing."""

  def close(self) -> None:
    """Closes nothing."""
