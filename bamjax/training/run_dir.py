"""A run's folder: its lock, its configuration, its logs."""

import contextlib
import json
import logging
import math
import operator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import tensorboardX

from bamjax import files
from bamjax.errors import UserError
from bamjax.files import to_json
from bamjax.files import write_atomically
from bamjax.runs import checkpoints as checkpoints_lib
from bamjax.runs import config as config_lib
from bamjax.runs.checkpoints import Checkpoints
from bamjax.training import distributed
from bamjax.training.schedule import make_schedule
from bamjax.training.state import create_state
from bamjax.training.state import state_of
from bamjax.training.state import TrainState

CONFIG = "config.json"
METRICS = "metrics.jsonl"
SUMMARY = "summary.json"


@contextlib.contextmanager
def opened(path: Path, config: ml_collections.ConfigDict):
  """Holds a run's folder for one run, and its configuration in it.

  Process 0 looks after it; the others learn whether that went well.

  Raises:
    UserError: another run holds the folder, it cannot be written, checkpoints
      cannot be kept there, or it is that of another configuration (which is
      then left as it is).
  """
  checkpoints_lib.check_path(path)
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
      free = files.lock(lock, wait=False)
    except OSError as error:
      logging.warning(
        "%s cannot be locked (%s): see that no other process trains there",
        path,
        error.strerror,
      )
      free = True
    if not free:
      raise UserError(
        f"another process is training in {path}; wait for it, or give another"
        " --run_dir"
      )
    if (path / CONFIG).exists():
      found = config_lib.differences(config_lib.load(path / CONFIG), config)
      if found:
        message = (
          f"{path} holds another run ({'; '.join(found)}); give another"
          " --run_dir, or the command that the run was started with"
        )
        if any(line.startswith("steps:") for line in found):
          message += (
            ". To train its network longer, give another --run_dir, and"
            f" --init_from={path}"
          )
        raise UserError(message)
    elif checkpoints_lib.steps_on_disk(path):
      raise UserError(
        f"{path} holds checkpoints and no {CONFIG}; restore that from a copy,"
        " or give another --run_dir"
      )
    else:
      config_lib.save(config, path / CONFIG)
    yield


def check_new(path: Path, config: ml_collections.ConfigDict) -> None:
  """Looks at a run without a checkpoint, which is about to begin at step 0.

  Raises:
    UserError: it has had one, so that beginning anew would lose what is there.
  """
  seen = max(_rows(path / METRICS), default=0)
  # A checkpoint is begun only when the one before it is there.
  every = config.checkpoint_every, config.eval_every
  second = sorted({m * n for m in (1, 2) for n in every})[1]
  broken = (path / checkpoints_lib.BROKEN).is_dir()
  if seen > second or broken or (path / SUMMARY).exists():
    raise UserError(
      f"{path} has been trained{f' to step {seen}' if seen else ''}, but its"
      " checkpoints are gone; restore checkpoints/ from a copy"
      f"{f', or from {checkpoints_lib.BROKEN}/' if broken else ''}, or give"
      " another --run_dir to start anew"
    )
  if seen:
    print(f"{path}: it was cut off before its first checkpoint; starts anew")
  config_lib.save(config, path / CONFIG)  # maybe that of an older version


def check_resumable(path: Path) -> None:
  """Raises UserError for a run that could not go on to the same bits."""
  if config_lib.version(path / CONFIG) != config_lib.VERSION:
    raise UserError(
      f"{path} was begun by another version of bamjax, which draws samples in"
      " another order: finish it with that version, or start another run from"
      f" its weights, with --init_from={path} and another --run_dir"
    )


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
  try:
    config_lib.check(config)
    module = config_lib.build_model(config)
  except UserError as error:
    raise UserError(f"{path / CONFIG}: {error}") from None
  if not (path / "checkpoints").is_dir():
    raise UserError(f"{path} holds no checkpoint; it has none yet")
  state = _described(config, module)
  with contextlib.closing(Checkpoints(path, read_only=True)) as checkpoints:
    steps = checkpoints.steps()
    if not steps or (step is not None and step not in steps):
      wanted = "checkpoint" if step is None else f"checkpoint of step {step}"
      raise UserError(
        f"{path} holds no {wanted}; it has steps {steps or 'none'}"
      )
    if step is None:
      state, step = checkpoints.restore_best(state)
    else:
      state = checkpoints.restore_step(state, step)
  return config, module, {"params": state.averaged()}, step


def init_state(config: ml_collections.ConfigDict, module) -> TrainState:
  """The state at step 0 that a configuration names."""
  schedule = make_schedule(config.optim, config.steps)
  return create_state(
    module, schedule, config.seed, config.data.patch, **_options(config)
  )


def _options(config: ml_collections.ConfigDict) -> dict[str, Any]:
  return {
    "clip_norm": config.optim.clip_norm,
    "ema": config.optim.ema_decay > 0,
  }


def _described(config: ml_collections.ConfigDict, module) -> TrainState:
  """The shapes of a state, to restore one into; compiles nothing."""
  schedule = make_schedule(config.optim, config.steps)

  def fresh():
    variables = module.init(
      jax.random.key(0), jnp.zeros((1, 16, 16, 3), jnp.float32)
    )
    return state_of(module, variables["params"], schedule, **_options(config))

  place = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
    jax.eval_shape(fresh),
  )


class Logs:
  """metrics.jsonl, and TensorBoard's scalars and images, of a run.

  Rows hold what was computed and no wall-clock time, so that a resumed run's
  file equals that of an uninterrupted one.
  """

  def __init__(self, path: Path, step: int):
    """Opens the logs of a run that goes on from `step`; later rows go."""
    self._path = path / METRICS
    rows = _rows(self._path)
    kept = [line for at in sorted(rows) if at <= step for line in rows[at]]
    write_atomically(self._path, "".join(f"{line}\n" for line in kept))
    self._board = tensorboardX.SummaryWriter(
      str(path / "tensorboard"), purge_step=step + 1
    )

  def write(self, step: int, **scalars: float) -> None:
    """Writes one row, and each scalar to TensorBoard; null if not finite."""
    with self._path.open("a") as file:
      file.write(to_json({"step": step, **scalars}) + "\n")
    for name, value in scalars.items():
      if math.isfinite(value):
        self._board.add_scalar(name, value, step)

  def show(self, step: int, name: str, image: np.ndarray) -> None:
    """Shows an image, H×W×3 uint8, in TensorBoard."""
    self._board.add_image(name, image, step, dataformats="HWC")

  def close(self) -> None:
    """Flushes TensorBoard's file, as far as the disk has room."""
    # An error here would hide the one that a run may be ending for.
    with contextlib.suppress(OSError):
      self._board.close()


def _rows(path: Path) -> dict[int, list[str]]:
  """The lines of metrics.jsonl by step; those that are no rows are left out.

  A process that was killed may have left its last line unfinished.
  """
  try:
    lines = path.read_text(errors="replace").splitlines()
  except FileNotFoundError:
    lines = []
  rows, others = {}, []
  for number, line in enumerate(lines, 1):
    try:
      step = json.loads(line)["step"]
      rows.setdefault(operator.index(step), []).append(line)
    except (ValueError, TypeError, KeyError, RecursionError):
      others.append(number)
  if others and others != [len(lines)]:
    logging.warning("%s: not rows, left out: lines %s", path, others[:10])
  return rows


class NoLogs:
  """What processes other than the first log: nothing."""

  def write(self, step: int, **scalars: float) -> None:
    """Writes nothing."""

  def show(self, step: int, name: str, image: np.ndarray) -> None:
    """Shows nothing."""

  def close(self) -> None:
    """Closes nothing."""
