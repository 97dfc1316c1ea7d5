"""`bamjax upscale`, end to end."""

import os
from pathlib import Path

import numpy as np
from PIL import Image
import pytest

import bamjax
from bamjax import memory
from bamjax import pretrained
from bamjax.commands import upscale as command
from bamjax.errors import UserError
from bamjax.images import image_file
from bamjax.inference import precision
from bamjax.memory import Memory
import scripts
from upscaling.calls import RGB
from upscaling.calls import size
from upscaling.calls import upscale


def test_a_folder_with_all_kinds_of_images(folder, weights, tmp_path, capsys):
  out = tmp_path / "out"
  assert upscale([folder], weights, out) == 0
  made = {path.name: image_file.read(path) for path in out.iterdir()}
  assert set(made) == {
    *("rgb_x2.png", "photo_x2.JPG", "gray_x2.png", "rgba_x2.webp"),
    *("deep_x2.png", "small_x2.bmp"),
  }
  for name, image in made.items():
    size = (18, 34) if name == "small_x2.bmp" else (42, 60)
    assert image.color.shape[:2] == size
    assert image.gray == (name == "gray_x2.png")
    assert (image.alpha is not None) == (name == "rgba_x2.webp")
  # As the library has it.
  network = bamjax.load_weights(weights)
  expected = bamjax.Upscaler(*network)(RGB)
  np.testing.assert_allclose(
    made["rgb_x2.png"].color.astype(int), expected, atol=1
  )
  deep = made["deep_x2.png"].color
  assert deep.dtype == np.uint16 and np.unique(deep % 257).size > 10
  np.testing.assert_allclose(deep / 257, expected, atol=1)
  gray = made["gray_x2.png"].color
  three = np.repeat(
    np.asarray(Image.fromarray(RGB).convert("L"))[..., None], 3, 2
  )
  want = bamjax.Upscaler(*network)(three).mean(-1)
  np.testing.assert_allclose(gray[..., 0], want, atol=1)
  printed = capsys.readouterr().out
  assert printed.count("30×21 → 60×42") == 5


def test_tiles_make_the_same_image(folder, weights, tmp_path):
  upscale([folder / "rgb.png"], weights, tmp_path / "a.png")
  upscale([folder / "rgb.png"], weights, tmp_path / "b.png", tile="8")
  a, b = (
    image_file.read(tmp_path / n).color.astype(int) for n in ("a.png", "b.png")
  )
  assert np.abs(a - b).max() <= 1


def test_bfloat16_and_self_ensemble_are_near(folder, weights, tmp_path):
  for name, options in (
    ("a.png", {}),
    ("b.png", {"dtype": "bfloat16"}),
    ("c.png", {"self_ensemble": True}),
  ):
    upscale([folder / "rgb.png"], weights, tmp_path / name, **options)
  a, b, c = (
    image_file.read(tmp_path / name).color.astype(float)
    for name in ("a.png", "b.png", "c.png")
  )
  assert 0 < np.abs(a - b).mean() < 2
  assert 0 < np.abs(a - c).mean() < 20


@pytest.mark.parametrize("native", [True, False])
def test_the_dtype_of_results_of_8_bits_is_that_of_the_processor(
  native, folder, weights, tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(precision, "prefers_bfloat16", lambda: native)
  same = "bfloat16" if native else "float32"
  for name in ("auto", same):
    upscale([folder / "rgb.png"], weights, tmp_path / f"{name}.png", dtype=name)
  auto, other = (
    image_file.read(tmp_path / f"{name}.png").color for name in ("auto", same)
  )
  np.testing.assert_array_equal(auto, other)
  assert ("computed in bfloat16" in capsys.readouterr().out) == native


def test_a_run_folder_is_a_network(finished_run, folder, tmp_path):
  run_dir = str(finished_run)
  inputs, output = [folder / "rgb.png"], tmp_path / "a.png"
  assert upscale(inputs, None, output, run_dir=run_dir) == 0
  assert size(tmp_path / "a.png") == (60, 42)


def test_shipped_weights_of_the_scale_are_the_default(
  folder, weights, tmp_path, monkeypatch
):
  monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
  (tmp_path / "pan-bam-x2.safetensors").write_bytes(Path(weights).read_bytes())
  inputs = [folder / "rgb.png"]
  assert upscale(inputs, None, tmp_path / "a.png") == 0
  assert size(tmp_path / "a.png") == (60, 42)
  with pytest.raises(UserError, match="there are ×2"):
    upscale(inputs, None, tmp_path / "a.png", scale=3)


def test_mistakes_are_reported_before_anything_is_written(
  folder, weights, tmp_path, monkeypatch
):
  rgb = folder / "rgb.png"
  out = tmp_path / "out"
  (folder / "sub").mkdir()
  Image.fromarray(RGB).save(folder / "sub" / "rgb.png")
  (tmp_path / "empty").mkdir()
  for inputs, options, text in (
    ([], {}, "no image named"),
    (["", rgb], {}, "an input's name is empty"),
    ([rgb], {"output": ""}, "--output is empty"),
    ([rgb], {"suffix": "/../../b"}, "--suffix is part of a file name"),
    ([rgb], {"quality": 101}, "--quality is from 1 to 100; got 101"),
    ([rgb], {"memory": float("nan")}, "--memory"),
    (["absent.png"], {}, "there is no file absent.png"),
    (["absent*.png"], {}, "no file, folder or match of absent"),
    (["a" * 300 + ".png"], {}, "File name too long"),
    ([tmp_path / "empty"], {}, "holds no image"),
    ([rgb], {"tile": "big"}, "--tile is auto or a number"),
    ([rgb], {"ext": "gif"}, "unknown --ext 'gif'"),
    ([rgb], {"passes": -1}, "--passes"),
    ([rgb], {"memory": 0}, "--memory"),
    ([rgb], {"memory": 1e-5}, "--memory is in GB"),
    ([rgb], {"scale": 4}, "of scale 2, not 4"),
    ([rgb], {"run_dir": "a"}, "exclude each other"),
    ([rgb, folder / "sub" / "rgb.png"], {}, "with another --output or --suf"),
    ([rgb], {"output": folder, "suffix": ""}, "would be written over"),
    ([rgb], {"output": rgb}, r"of \S+rgb.png would be written over the input"),
    ([rgb], {"output": tmp_path / "a.gif"}, "unknown extension of --output"),
    (
      [rgb],
      {"output": tmp_path / "a.png", "ext": "jpg"},
      "--ext is for folders",
    ),
    ([folder], {"output": tmp_path / "a.png"}, "is one file"),
  ):
    before = rgb.read_bytes()
    with pytest.raises(UserError, match=text) as caught:
      upscale(inputs, weights, **{"output": out, **options})
    assert "\n" not in str(caught.value)
    assert rgb.read_bytes() == before and not out.exists()
  # A link to an input is that input.
  (tmp_path / "link.png").symlink_to(rgb)
  os.link(rgb, tmp_path / "hard.png")
  for name in ("link.png", "hard.png", "in/../in/rgb.png"):
    with pytest.raises(UserError, match="would be written over"):
      upscale([rgb], weights, tmp_path / name)
  (tmp_path / "file").touch()
  with pytest.raises(UserError, match="cannot be written"):
    upscale([rgb], weights, tmp_path / "file" / "out")


def test_the_script_skips_what_it_cannot_read(folder, weights, tmp_path):
  (folder / "broken.png").write_text("not an image")
  os.replace(folder / "gray.png", folder / "caf\udce9.png")
  os.replace(folder / "rgb.png", folder / "r\x1b[31m\ngb.png")
  out = tmp_path / "out"
  # Flags may stand anywhere.
  done = scripts.call(
    "upscale.py",
    *(folder / "broken.png", "-o", out),
    *(folder / "caf\udce9.png", folder / "r\x1b[31m\ngb.png"),
    "ab\x1bc\nsent.png",
    f"--weights={weights}",
  )
  assert done.code == 1, done.err
  assert "broken.png cannot be read" in done.err
  assert "2 of 4 images left out" in done.err
  assert "Traceback" not in done.err
  assert "no file ab\\x1bc\\nsent.png" in done.err
  assert "r\\x1b[31m\\ngb_x2.png  30×21 → 60×42" in done.out
  assert "\x1b" not in done.out + done.err
  assert "caf\\udce9_x2.png  30×21 → 60×42" in done.out
  made = ["caf\udce9_x2.png", "r\x1b[31m\ngb_x2.png"]
  assert sorted(os.listdir(out)) == made
  done = scripts.call("upscale.py", "absent.png", f"--weights={weights}")
  assert done.code == 2
  assert done.err.startswith("upscale.py: error: there is no file")


def test_by_default_the_network_takes_half_of_what_is_free(monkeypatch):
  network = command.Options(images=[]).load(default="pan-bam-x2")

  def tiles(available, **options):
    # A container of 900 MB, of which the program has 300, and a large machine.
    monkeypatch.setattr(memory, "host_memory", lambda: Memory(0, available))
    options = command.Options(images=[], **options)
    return command._upscaler(network, options).tiles(900, 1200)

  assert tiles(600 * 10**6) == tiles(0, memory=(0.6 - 0.15) / 2) > 4
  assert tiles(10**12) == tiles(0, memory=2)
