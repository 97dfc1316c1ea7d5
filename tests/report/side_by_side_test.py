import dataclasses

import jax
import numpy as np
from PIL import Image
import pytest

from bamjax.data.degradation import degrader
from bamjax.data.sr_files import find_sr_files
from bamjax.data.test_sets import Benchmark
from bamjax.errors import UserError
from bamjax.evaluation import scoring
from bamjax.evaluation.protocols import MATLAB
from bamjax.evaluation.protocols import PROTOCOLS
from bamjax.images import resize
from bamjax.inference import Upscaler
from bamjax.networks import Network
from bamjax.report import document
from bamjax.report import side_by_side
from models import small


class File:
  """An image in memory."""

  def __init__(self, name, lr=None, hr=None):
    self.name, self._pair = name, (lr, hr)

  def load(self):
    if all(image is None for image in self._pair):
      raise UserError("cannot be read")
    return self._pair


def noise(seed, height=48, width=56):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (height, width, 3), np.uint8)


def entry(name="imdn", attn="bam", colour=0, seed=0):
  module = small.create(name, attn)
  lr = jax.ShapeDtypeStruct((1, 8, 8, 3), np.float32)
  variables = small.draw(module, lr, seed)
  network = Network(f"{name}.npz", name, attn, 2, module, variables)
  upscaler = Upscaler(module, variables, tile=0)
  return side_by_side.Entry(network, upscaler, network.title, colour)


def test_scores_are_those_of_the_protocol():
  hr = noise(0)
  one = entry()
  found = side_by_side.run_networks(
    [one], Benchmark("B", [File("a", hr=hr)]), 5
  )
  lr, hr = MATLAB.degradation.pair(hr, None, 2)
  want = MATLAB.score(one.upscaler(lr / np.float32(255)), hr, 2)
  assert found.means()[1] == pytest.approx(want)
  (image,) = found.shown
  np.testing.assert_array_equal(image.outputs[1], one.upscaler(lr))
  np.testing.assert_array_equal(image.hr, hr)


def test_the_images_with_the_largest_differences_are_kept(caplog):
  entries = [entry(seed=0), entry(seed=1, colour=1)]
  files = [File(str(seed), hr=noise(seed)) for seed in range(4)]
  files.append(File("broken"))
  found = side_by_side.run_networks(entries, Benchmark("B", files), 2)
  assert found.names == ["0", "1", "2", "3"] and "broken" in caplog.text
  _, a, b = ([s["psnr_y"] for s in rows] for rows in found.scores)
  order = np.argsort(-np.abs(np.subtract(a, b)))
  assert [image.name for image in found.shown] == [str(i) for i in order[:2]]
  with pytest.raises(UserError, match="none of the images of B"):
    side_by_side.run_networks(entries, Benchmark("B", files[-1:]), 2)


def test_lr_is_degraded_as_for_scores(caplog):
  hr, degrade = noise(0), degrader.parse("noise:50")
  one = entry()
  files = [File("a", hr=hr), File("alone", lr=noise(1))]
  test_set = Benchmark("B", files, degrader=degrade)
  found = side_by_side.run_networks([one], test_set, 5)
  want = scoring.evaluate(one.upscaler, files, 2, degrade=degrade)["matlab"]
  assert found.names == ["a"] and found.left_out == ["alone"]
  assert "there is no HR image" in caplog.text
  assert found.title == "B with noise:50 ×2"
  assert found.scores[1][0]["psnr_y"] == pytest.approx(want["psnr_y"])
  (image,) = found.shown
  lr, hr = MATLAB.degradation.pair(hr, None, 2)
  np.testing.assert_array_equal(image.lr, degrade("a", lr, hr))
  assert not np.array_equal(image.lr, lr)


def test_lr_alone_has_no_scores():
  found = side_by_side.run_networks(
    [entry()], Benchmark("B", [File("a", lr=noise(0, 20, 24))]), 5
  )
  assert found.means() == []
  (image,) = found.shown
  assert image.scores is None and image.hr is None
  assert [o.shape for o in image.outputs] == [(40, 48, 3)] * 2


def test_a_flat_image_differs_least_and_is_left_out_of_mean_psnr():
  files = [File("flat", hr=np.full((48, 56, 3), 9, np.uint8))]
  files.append(File("noise", hr=noise(0)))
  one = entry()
  # Returns the flat image for any input.
  exact = lambda lr: np.full((48, 56, 3), 9, np.uint8)  # noqa: E731
  one = dataclasses.replace(one, upscaler=exact)
  found = side_by_side.run_networks([one], Benchmark("B", files), 2)
  assert [image.name for image in found.shown] == ["noise", "flat"]
  assert found.equal() == ["flat"]
  assert found.means()[0] == pytest.approx(
    {
      "psnr_y": found.scores[0][1]["psnr_y"],
      "ssim_y": np.mean([s["ssim_y"] for s in found.scores[0]]),
    }
  )


def test_a_folder_of_sr_images_is_an_entry(tmp_path, caplog):
  test_set, made = tmp_path / "Mine" / "HR", tmp_path / "made"
  resized = PROTOCOLS["bam"].degradation
  for folder in (test_set, made):
    folder.mkdir(parents=True)
  for seed, name in enumerate("abc"):
    hr = np.asarray(Image.fromarray(noise(seed, 7, 8)).resize((57, 49)))
    Image.fromarray(hr).save(test_set / f"{name}.png")
    lr, _ = resized.pair(hr, None, 2)
    if name != "c":
      Image.fromarray(resize.upscale(lr, 2)).save(made / f"{name}_x2.png")
  benchmark, sr_files = find_sr_files(made, test_set)
  other = side_by_side.SrEntry(str(made), 2, [sr_files], "made </b>", 1)
  found = side_by_side.run_networks([entry(), other], benchmark, 5)
  assert found.names == ["a", "b"] and found.left_out == ["c"]
  assert "made has no file for 1 of the 3 images of Mine: c" in caplog.text
  shown = {image.name: image for image in found.shown}
  _, hr = MATLAB.degradation.pair(
    np.asarray(Image.open(test_set / "a.png")), None, 2
  )
  sr = np.asarray(Image.open(made / "a_x2.png"))
  np.testing.assert_array_equal(shown["a"].outputs[2], sr)
  assert shown["a"].scores[2] == MATLAB.score(sr, hr, 2)
  assert found.notes[0].startswith("made </b>: 2 of 2 SR images are made from")
  page = document.page(found.entries, [found])
  assert "made &lt;/b&gt;" in page and "resized to a multiple of 2" in page
  # An interval of one seed: as `evaluate --compare` notes it.
  assert "95 % confidence interval" in page
  assert "another training of a network may change the sign" in page
