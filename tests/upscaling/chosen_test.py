"""Which shipped weights upscale an image."""

import types

import jax
import numpy as np
from PIL import Image
import pytest

import bamjax
from bamjax import pretrained
from bamjax.errors import UserError
from bamjax.errors import warn_once
from bamjax.images import image_file
from bamjax.upscaling import chosen
from upscaling.calls import RGB
from upscaling.calls import upscale


@pytest.fixture
def shipped(weights, tmp_path, monkeypatch):
  """Ships weights for ×2 of each kind, and returns their networks."""
  module, variables = bamjax.load_weights(weights)
  folder = tmp_path / "shipped"
  folder.mkdir()
  monkeypatch.setattr(pretrained, "FOLDER", folder)
  networks = {}
  for name, factor in (
    ("pan-bam-x2", 1.0),
    ("pan-bam-x2-photo", 0.5),
    ("smfanet-x2", 0.7),
  ):
    scaled = jax.tree.map(lambda x, f=factor: x * np.float32(f), variables)
    bamjax.save_weights(folder / f"{name}.safetensors", module, scaled)
    networks[name] = bamjax.Upscaler(module, scaled)
  return networks


def made(name, folder):
  [path] = folder.glob(name)
  return image_file.read(path).color.astype(int)


@pytest.mark.parametrize(
  "flags, names",
  [
    ({}, ("pan-bam-x2", "pan-bam-x2-photo")),
    ({"preset": "balanced"}, ("smfanet-x2", "pan-bam-x2-photo")),
    ({"degradation": "clean"}, ("pan-bam-x2", "pan-bam-x2")),
    ({"degradation": "photo"}, ("pan-bam-x2-photo", "pan-bam-x2-photo")),
    (
      {"degradation": "clean", "preset": "balanced"},
      ("smfanet-x2", "smfanet-x2"),
    ),
  ],
)
def test_an_image_is_upscaled_by_the_weights_for_it(
  shipped, tmp_path, capsys, flags, names
):
  Image.fromarray(RGB).save(tmp_path / "a.png")
  Image.fromarray(RGB).save(tmp_path / "b.jpg")
  inputs, out = [tmp_path / "a.png", tmp_path / "b.jpg"], tmp_path / "out"
  assert upscale(inputs, None, out, ext="png", **flags) == 0
  lines = capsys.readouterr().out.splitlines()
  for path, line, name in zip(inputs, lines, names, strict=True):
    assert f"30×21 → 60×42 by {name}, " in line
    expected = shipped[name](image_file.read(path).color)
    result = made(f"{path.stem}_x2.png", out)
    np.testing.assert_allclose(result, expected.astype(int), atol=1)
    for other in shipped.keys() - {name}:
      wrong = shipped[other](image_file.read(path).color).astype(int)
      assert np.abs(result - wrong).mean() > 2


def test_the_best_preset_averages_over_flips_and_rotations(shipped, tmp_path):
  Image.fromarray(RGB).save(tmp_path / "a.png")
  out = tmp_path / "out"
  assert upscale([tmp_path / "a.png"], None, out, preset="best") == 0
  module, variables = bamjax.load_weights("smfanet-x2")
  expected, single = (
    bamjax.Upscaler(module, variables, self_ensemble=ensemble)(RGB).astype(int)
    for ensemble in (True, False)
  )
  result = made("a_x2.png", out)
  np.testing.assert_allclose(result, expected, atol=1)
  assert np.abs(result - single).max() > 1


def test_weights_are_loaded_when_an_image_needs_them():
  loaded = []
  choose = chosen.shipped(2, "auto", lambda name: loaded.append(name) or name)
  assert not loaded
  for lossy in (False, False, True, False):
    name = choose(types.SimpleNamespace(lossy=lossy)).name
    assert name == ("pan-bam-x2-photo" if lossy else "pan-bam-x2")
  assert loaded == ["pan-bam-x2", "pan-bam-x2-photo"]


def test_a_scale_without_weights_for_photographs(
  shipped, tmp_path, capsys, caplog
):
  (pretrained.FOLDER / "pan-bam-x2-photo.safetensors").unlink()
  Image.fromarray(RGB).save(tmp_path / "a.jpg")
  inputs, out = [tmp_path / "a.jpg"], tmp_path / "out"
  assert upscale(inputs, None, out) == 0
  assert "by pan-bam-x2, " in capsys.readouterr().out
  # In one line, however many there are.
  Image.fromarray(RGB).save(tmp_path / "b.jpg")
  Image.fromarray(RGB).save(tmp_path / "c.png")
  warning = "no weights for photographs are shipped at ×2: JPEG and lossy WebP"
  assert [warning in m for m in caplog.messages] == [True]
  assert upscale(sorted(tmp_path.glob("*.jpg")), None, out) == 0
  assert len(caplog.messages) == 1
  warn_once.cache_clear()
  for path, options in (
    (tmp_path / "c.png", {}),
    (tmp_path / "b.jpg", {"degradation": "clean"}),
  ):
    assert upscale([path], None, out, **options) == 0
  assert len(caplog.messages) == 1
  with pytest.raises(UserError, match="photographs are shipped at ×2.*clean"):
    upscale(inputs, None, tmp_path / "b", degradation="photo")
  assert not (tmp_path / "b").exists()


def test_weights_of_the_user_are_used_for_every_image(
  weights, finished_run, tmp_path, capsys
):
  Image.fromarray(RGB).save(tmp_path / "a.jpg")
  inputs, out = [tmp_path / "a.jpg"], tmp_path / "out"
  assert upscale(inputs, weights, out) == 0
  assert " by " not in capsys.readouterr().out
  for source in ({"weights": weights}, {"run_dir": str(finished_run)}):
    for flag in ({"degradation": "clean"}, {"preset": "fast"}):
      words = f"--{[*flag][0]} chooses .* leave it out with --{[*source][0]}"
      with pytest.raises(UserError, match=words):
        upscale(inputs, output=out, **{"weights": None, **flag, **source})


def test_a_scale_without_shipped_weights_names_those_that_have_some():
  with pytest.raises(UserError, match="shipped at ×8 .there are ×2, ×3, ×4.;"):
    chosen.shipped(8, "auto", lambda name: None)
