"""Runs cells one after the other, or as many at a time as there are GPUs."""

from collections import deque
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import datetime
from pathlib import Path
import signal
import subprocess
import threading
import time

from bamjax import stopping
from bamjax.ablation.cell_states import Task
from bamjax.ablation.worker_process import reason
from bamjax.ablation.worker_process import Workers

_TAIL = 50  # lines of a worker's output that are kept for its failure


@dataclasses.dataclass(frozen=True)
class Job:
  """A cell that is to be worked on.

  Attributes:
    name: of the cell.
    task: what its worker does.
    cost: of what is left of it, in any unit.
  """

  name: str
  task: Task
  cost: float


class CellQueue:
  """Works on jobs; a job that fails is named, and the others are done.

  Attributes:
    failures: why each failed, by the name of the cell.
  """

  def __init__(
    self,
    jobs: Sequence[Job],
    workers: Workers,
    slots: Sequence[Mapping[str, str]],
    logs: Path,
    show: Callable[[str], None],
  ):
    """Prepares the queue; `run` works on it.

    Args:
      jobs: in the order in which they are begun.
      workers: how to start one.
      slots: environments of workers that may run at the same time.
      logs: folder of the workers' output, a file per cell.
      show: takes each line about the progress.
    """
    self.failures: dict[str, str] = {}
    self._jobs = deque(jobs)
    self._count = len(jobs)
    self._workers = workers
    self._slots = slots
    self._logs = logs
    self._show = show
    self._running: list[Job] = []
    self._processes: list[subprocess.Popen[str]] = []
    self._signal = 0
    self._done: list[Job] = []
    self._lock = threading.RLock()
    self._start = time.monotonic()

  def run(self) -> None:
    """Works on all jobs.

    Raises:
      SystemExit: a signal stopped it, 128 + its number; the workers have saved
        checkpoints.
    """
    threads = [
      threading.Thread(target=self._work, args=(slot,)) for slot in self._slots
    ]
    with stopping.caught(self._pass_on, True):
      for thread in threads:
        thread.start()
      try:
        for thread in threads:
          while thread.is_alive():  # a signal is handled between the joins
            thread.join(0.2)
      except KeyboardInterrupt:  # where no command handles it
        self._pass_on(signal.SIGINT)
        raise
    if self._signal:
      raise SystemExit(128 + self._signal)

  def _pass_on(self, number: int) -> bool:
    """Passes a signal on to the workers."""
    with self._lock:
      for process in self._processes:
        # A second one does not wait for checkpoints.
        process.kill() if self._signal else process.terminate()
      self._signal = self._signal or number
    return False

  def _work(self, slot: Mapping[str, str]) -> None:
    while job := self._next():
      try:
        why = self._do(job, slot)
      except OSError as error:  # no room for the log, no memory for a process
        why = str(error)
      self._finish(job, why)

  def _next(self) -> Job | None:
    with self._lock:
      if not self._jobs or self._signal:
        return None
      job = self._jobs.popleft()
      self._running.append(job)
      number = self._count - len(self._jobs)
      self._show(f"cell {number} of {self._count}: {job.name}")
      return job

  def _do(self, job: Job, slot: Mapping[str, str]) -> str:
    """Runs a worker to its end; returns why it failed, or ""."""
    with self._lock:
      if self._signal:
        return ""
      process = self._workers.start(job.task, slot)
      self._processes.append(process)
    tail: deque[str] = deque(maxlen=_TAIL)
    try:
      self._follow(job, process, tail)
    except OSError:
      process.terminate()
      raise
    finally:
      status = process.wait()
      with self._lock:
        self._processes.remove(process)
    return reason(tail, status) if status else ""

  def _follow(
    self, job: Job, process: subprocess.Popen[str], tail: deque[str]
  ) -> None:
    """Shows and logs what a worker writes, and keeps its last lines."""
    assert process.stdout is not None
    with process.stdout as output:
      self._logs.mkdir(parents=True, exist_ok=True)
      path = self._logs / f"{job.name}.txt"
      with path.open("a", encoding="utf-8") as log:
        for line in output:
          log.write(line)
          log.flush()
          tail.append(line.rstrip())
          self._show(f"{job.name}: {line.rstrip()}")

  def _finish(self, job: Job, why: str) -> None:
    with self._lock:
      self._running.remove(job)
      if self._signal:
        return
      self._done.append(job)
      if why:
        self.failures[job.name] = why
        self._show(f"{job.name} failed: {why}")
      self._show(
        f"{len(self._done)} of {self._count} cells done{self._time_left()}"
      )

  def _time_left(self) -> str:
    """By the cost of what is done and of what is not."""
    # A running cell counts as half done.
    half = sum(job.cost for job in self._running) / 2
    left = half + sum(job.cost for job in self._jobs)
    good = [job for job in self._done if job.name not in self.failures]
    done = half + sum(job.cost for job in good)
    if not good or not left:
      return ""
    seconds = (time.monotonic() - self._start) * left / done
    return f", {datetime.timedelta(seconds=round(seconds))} left"
