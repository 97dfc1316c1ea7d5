import pytest

from ablation import studies
from bamjax.ablation import step_time
from bamjax.ablation import time_budget
from bamjax.ablation.cells import make_cells


def test_slower_networks_train_for_fewer_steps(tmp_path):
  study = studies.make(tmp_path)
  study.recipe.update(
    {"steps": 1000, "optim": {"warmup_steps": 100, "decay_every": 300}}
  )
  asked = []

  def measure(configs):
    asked.extend(config.attn for config in configs)
    return [{"native": 0.1, "bam": 0.4, "ca": 0.2}[c.attn] for c in configs]

  def lengths(study):
    cells = time_budget.apply(
      make_cells(study), "native", study.folder, measure
    )
    return {
      cell.name: (
        cell.config.steps,
        cell.config.optim.decay_every,
        cell.config.optim.warmup_steps,
      )
      for cell in cells
    }

  found = lengths(study)
  assert asked == ["native", "bam"]  # once for all seeds
  assert found["pan-native-seed0"] == (1000, 300, 100)
  assert found["pan-bam-seed0"] == (250, 75, 25) == found["pan-bam-seed1"]
  # Resumed, or with another attention, the same times hold.
  wider = studies.make(tmp_path, attns=["native", "bam", "ca"])
  wider.recipe.update(study.recipe)
  assert lengths(wider).items() >= found.items()
  assert asked == ["native", "bam", "ca"]


def test_a_dry_run_keeps_nothing(tmp_path):
  study = studies.make(tmp_path)
  time_budget.apply(
    make_cells(study),
    "native",
    study.folder,
    lambda configs: [1.0] * len(configs),
    keep=False,
  )
  assert not study.folder.exists()


@pytest.mark.slow
def test_steps_take_time(tmp_path, monkeypatch):
  monkeypatch.setattr(step_time, "_STEPS", 2)
  cells = make_cells(studies.make(tmp_path))[:2]
  found = step_time.measure([cell.config for cell in cells])
  assert len(found) == 2 and min(found) > 0


@pytest.mark.parametrize("steps, ratio", [(1, 0.1), (10, 0.01)])
def test_every_network_trains_a_step(tmp_path, steps, ratio):
  study = studies.make(tmp_path)
  study.recipe.steps = steps
  cells = time_budget.apply(
    make_cells(study), "native", study.folder, lambda _: [ratio, 1.0]
  )
  assert cells[1].config.steps == 1
