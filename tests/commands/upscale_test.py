import errno
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest

import bamjax
from bamjax import pretrained
from bamjax.commands import upscale as command
from bamjax.commands.upscale import Options
from bamjax.errors import UserError
from bamjax.images import image_file
from bamjax.images import resize
from bamjax.upscaling import jobs as jobs_lib
from bamjax.upscaling import one_image
from models import small
import scripts

RGB = np.random.default_rng(0).integers(0, 256, (21, 30, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
  path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
  module = bamjax.create_model(
    "pan", "bam", 2, blocks=1, features=8, up_features=8
  )
  variables = small.draw(module, jnp.zeros((1, 8, 8, 3)))
  bamjax.save_weights(path, module, variables)
  return str(path)


@pytest.fixture
def folder(tmp_path):
  """Images of several kinds."""
  folder = tmp_path / "in"
  folder.mkdir()
  rgb = Image.fromarray(RGB)
  rgb.save(folder / "rgb.png")
  rgb.save(folder / "photo.JPG", quality=95)
  rgb.convert("L").save(folder / "gray.png")
  alpha = Image.fromarray(np.tile(np.arange(30, dtype=np.uint8) * 8, (21, 1)))
  rgba = rgb.copy()
  rgba.putalpha(alpha)
  rgba.save(folder / "rgba.webp", lossless=True)
  deep = RGB.astype(np.uint16) * 257
  image_file.write(folder / "deep.png", image_file.ImageData(deep))
  rgb.crop((0, 0, 17, 9)).save(folder / "small.bmp")
  return folder


def upscale(inputs, weights, output, **options):
  return command.run(
    Options(
      images=[str(i) for i in inputs],
      weights=weights,
      output=str(output),
      **options,
    )
  )


def size(path):
  with Image.open(path) as file:
    return file.size


def test_a_folder_of_all_kinds(folder, weights, tmp_path, capsys):
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
  told = capsys.readouterr().out
  assert told.count("30×21 → 60×42") == 5


def test_alpha_is_upscaled_by_the_network(weights):
  upscaler = bamjax.Upscaler(*bamjax.load_weights(weights))
  alpha = RGB[..., 1]
  larger = one_image.upscale_image(upscaler, image_file.ImageData(RGB, alpha))
  three = np.repeat(alpha[..., None], 3, axis=2)
  want = upscaler(three).mean(-1)
  np.testing.assert_allclose(larger.alpha, want, atol=1)
  flat = np.full(alpha.shape, 77, np.uint8)
  larger = one_image.upscale_image(upscaler, image_file.ImageData(RGB, flat))
  assert (larger.alpha == 77).all()


@pytest.mark.parametrize("under", ["black", "noise"])
def test_color_under_transparency_does_not_tinge_the_rim(under):
  y, x = np.mgrid[:32, :32]
  alpha = np.clip(11 - np.hypot(y - 15.5, x - 15.5), 0, 1)
  alpha = (alpha * 255).astype(np.uint8)
  visible = np.stack([200 + x, 4 * y, 3 * x], axis=-1)
  noise = np.random.default_rng(0).integers(0, 256, visible.shape)
  hidden = noise if under == "noise" else 0
  color = np.where(alpha[..., None], visible, hidden).astype(np.uint8)

  def upscaler(image, progress=None):
    return resize.upscale(image, 2)

  larger = one_image.upscale_image(upscaler, image_file.ImageData(color, alpha))
  # Bicubic of color that is multiplied by alpha, and of alpha.
  share = (alpha[..., None] / 255).astype(np.float32)
  color_share = resize.upscale(color / 255 * share, 2)
  want = color_share / np.maximum(resize.upscale(share, 2), 0.01) * 255
  seen = larger.alpha > 32
  assert np.abs(larger.color - want)[seen].max() < 6
  # All of it hidden: it stays.
  none = image_file.ImageData(color, np.zeros_like(alpha))
  same = one_image.upscale_image(upscaler, none).color
  np.testing.assert_array_equal(same, upscaler(color))


@pytest.mark.timeout(60)  # opening a pipe would wait for ever
def test_links_that_lead_nowhere_are_left_out(weights, tmp_path, caplog):
  folder = tmp_path / "in"
  (folder / "inner").mkdir(parents=True)
  Image.fromarray(RGB).save(folder / "rgb.png")
  (folder / "dangling.png").symlink_to("absent.png")
  os.mkfifo(folder / "fifo.png")
  for inputs in ([folder], [folder / "*"], sorted(folder.glob("*.png"))):
    caplog.clear()
    assert upscale(inputs, weights, tmp_path / "out") == 1
    assert "left out: " in caplog.text and "dangling.png" in caplog.text
    assert "fifo.png cannot be read" in caplog.text
    assert size(tmp_path / "out" / "rgb_x2.png") == (60, 42)


def test_names_are_made_as_asked(folder, weights, tmp_path, monkeypatch):
  monkeypatch.chdir(folder)
  upscale(["rgb.png"], weights, tmp_path / "one.jpg")
  assert size(tmp_path / "one.jpg") == (60, 42)
  upscale(
    ["*gb.png", "rgb.png"], weights, tmp_path / "o", ext="tif", suffix="big"
  )
  assert os.listdir(tmp_path / "o") == ["rgb_big.tif"]
  upscale(["gray.png"], weights, tmp_path / "o", suffix="")
  assert (tmp_path / "o" / "gray.png").exists()


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


def test_a_run_folder_serves(finished_run, folder, tmp_path):
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
  with pytest.raises(UserError, match="available: pan-bam-x2"):
    upscale(inputs, None, tmp_path / "a.png", scale=3)


def test_mistakes_are_told_before_anything_is_written(
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
    (["absent*.png", rgb], {}, "no file, folder or match of absent"),
    (["a" * 300 + ".png"], {}, "File name too long"),
    ([tmp_path / "empty"], {}, "holds no image"),
    ([rgb], {"tile": "big"}, "--tile is auto or a number"),
    ([rgb], {"ext": "gif"}, "unknown --ext 'gif'"),
    ([rgb], {"passes": -1}, "--passes"),
    ([rgb], {"memory": 0}, "--memory"),
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


def test_results_are_written_over_or_skipped(folder, weights, tmp_path, capsys):
  inputs = [folder / "rgb.png", folder / "gray.png"]
  old = tmp_path / "out.v2" / "rgb_x2.png"
  old.parent.mkdir()
  old.write_text("old")
  options = {"output": f"{old.parent}/", "skip_existing": True}
  assert upscale(inputs, weights, **options) == 0
  assert "1 of 2 images have a result: skipped" in capsys.readouterr().out
  assert old.read_text() == "old"
  assert size(old.with_name("gray_x2.png")) == (60, 42)
  assert upscale(inputs[:1], weights, old.parent) == 0
  assert size(old) == (60, 42)


def test_results_among_the_inputs_are_written_over_by_none(
  folder, weights, tmp_path, capsys
):
  for name in os.listdir(folder):
    if name != "rgb.png":
      os.remove(folder / name)
  assert upscale([folder], weights, folder) == 0
  result = folder / "rgb_x2.png"
  before = result.read_bytes()
  with pytest.raises(UserError, match=r"over the input \S+/rgb_x2.png; .*skip"):
    upscale([folder], weights, folder)
  Image.fromarray(RGB).save(folder / "new.png")
  # The result of a result, as older runs may have left it.
  (folder / "rgb_x2_x2.png").write_text("old")
  assert upscale([folder], weights, folder, skip_existing=True) == 0
  told = capsys.readouterr().out
  assert "2 of 4 images are results of others: skipped" in told
  assert "1 of 2 images have a result: skipped" in told
  assert result.read_bytes() == before
  assert (folder / "rgb_x2_x2.png").read_text() == "old"
  assert size(folder / "new_x2.png") == (60, 42)
  with pytest.raises(UserError, match="would be written over"):
    upscale([folder], weights, folder, skip_existing=True, suffix="")


def test_what_is_no_file_is_no_result(folder, weights, tmp_path, caplog):
  (tmp_path / "out" / "rgb_x2.png").mkdir(parents=True)
  inputs, out = [folder / "rgb.png"], tmp_path / "out"
  assert upscale(inputs, weights, out, skip_existing=True) == 1
  assert "rgb_x2.png is not a file" in caplog.text


def test_weights_are_not_written_over(folder, weights, tmp_path):
  mine = tmp_path / "mine.png"
  mine.write_bytes(Path(weights).read_bytes())
  for skip in (False, True):
    with pytest.raises(UserError, match="mine.png, which is read"):
      upscale([folder / "rgb.png"], str(mine), mine, skip_existing=skip)
  assert mine.read_bytes() == Path(weights).read_bytes()


def test_a_file_of_two_spellings_is_one_input(folder, tmp_path, monkeypatch):
  monkeypatch.chdir(folder)
  (tmp_path / "way").symlink_to(folder)
  (folder / "link.png").symlink_to("rgb.png")
  names = ["rgb.png", "../in/rgb.png", folder / "rgb.png", "../way/rgb.png"]
  found = jobs_lib.find_inputs([*map(str, names), "link.png", "gray.png"])
  assert found == [Path(n) for n in ("rgb.png", "link.png", "gray.png")]


def test_names_that_lead_to_nothing_are_left_out(
  folder, weights, tmp_path, monkeypatch, caplog
):
  # As of a folder that is closed to us; root may look into any.
  real = os.stat

  def stat(path, *args, **kwargs):
    if "closed" in str(path):
      raise PermissionError(13, "Permission denied", str(path))
    return real(path, *args, **kwargs)

  monkeypatch.setattr(os, "stat", stat)
  names = ["absent.png", "closed/a.png", "a" * 300 + ".png", "rgb.png/b.png"]
  inputs = [*(folder / name for name in names), folder / "rgb.png"]
  assert upscale(inputs, weights, tmp_path / "out") == 1
  assert os.listdir(tmp_path / "out") == ["rgb_x2.png"]
  assert "there is no file" in caplog.text and "absent.png" in caplog.text
  assert "closed/a.png cannot be read" in caplog.text
  assert caplog.text.count("left out: ") == 4


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSPC])
def test_one_result_that_is_held_is_left_out_alone(
  folder, weights, tmp_path, monkeypatch, caplog, number
):
  real = os.replace

  def replace(source, target):
    if Path(target).name == "gray_x2.png":
      raise OSError(number, os.strerror(number))
    real(source, target)

  monkeypatch.setattr(os, "replace", replace)
  inputs = [folder / "gray.png", folder / "rgb.png"]
  out = tmp_path / "out"
  if number == errno.ENOSPC:  # which others' results would have no place for
    with pytest.raises(UserError, match="gray_x2.png cannot be written: No sp"):
      upscale(inputs, weights, out)
    assert os.listdir(out) == []
  else:
    assert upscale(inputs, weights, out) == 1
    assert "gray_x2.png cannot be replaced: Operation not" in caplog.text
    assert os.listdir(out) == ["rgb_x2.png"]


def test_a_folder_ends_in_a_stroke(folder, weights, tmp_path):
  upscale([folder / "rgb.png"], weights, f"{tmp_path}/out.png/")
  assert size(tmp_path / "out.png" / "rgb_x2.png") == (60, 42)


def test_what_cannot_be_written_is_left_out_alone(
  folder, weights, tmp_path, monkeypatch, caplog, capsys
):
  rgb = folder / "rgb.png"
  # Whose result has too long a name, one a letter shorter, one as long as may
  # be, too large a result, and another thing in its place.
  names = [f"{'a' * length}.png" for length in (250, 249, 248)]
  for name in names:
    (folder / name).write_bytes(rgb.read_bytes())
  Image.fromarray(RGB).save(folder / "wide.webp")
  out = tmp_path / "out"
  (out / "photo_x2.JPG").mkdir(parents=True)
  monkeypatch.setitem(image_file._LONGEST, "WEBP", 59)
  inputs = [*(folder / n for n in (*names, "wide.webp", "photo.JPG")), rgb]
  assert upscale(inputs, weights, out) == 1
  made = [n for n in sorted(os.listdir(out)) if (out / n).is_file()]
  assert made == [f"{'a' * 248}_x2.png", "rgb_x2.png"]
  assert caplog.text.count("File name too long") == 2
  assert "wide_x2.webp would have 60×42 pixels" in caplog.text
  assert "photo_x2.JPG is not a file" in caplog.text
  assert "4 of 6 images left out" in capsys.readouterr().err


def test_what_does_not_fit_in_memory_is_left_out_alone(
  folder, weights, tmp_path, monkeypatch, caplog
):
  real = one_image.upscale_image

  def fill(upscaler, image, progress):
    if image.gray:
      raise MemoryError
    return real(upscaler, image, progress)

  monkeypatch.setattr(one_image, "upscale_image", fill)
  inputs = [folder / "gray.png", folder / "rgb.png"]
  assert upscale(inputs, weights, tmp_path / "out") == 1
  assert "gray.png does not fit in memory" in caplog.text
  assert os.listdir(tmp_path / "out") == ["rgb_x2.png"]


def test_a_network_that_overflows_writes_nothing(
  folder, weights, tmp_path, caplog, recwarn
):
  module, variables = bamjax.load_weights(weights)
  path = tmp_path / "large.safetensors"
  large = jax.tree.map(lambda x: np.full_like(x, 1e30), variables)
  bamjax.save_weights(path, module, large)
  inputs = [folder / "rgb.png", folder / "gray.png"]
  assert upscale(inputs, str(path), tmp_path / "out") == 1
  for source in inputs:
    assert f"left out: {source}: what the network returns is" in caplog.text
  assert not list(tmp_path.glob("out/*"))
  assert not [w for w in recwarn if w.category is RuntimeWarning]


def test_a_result_is_not_written_over_by_another(
  folder, weights, tmp_path, monkeypatch, caplog
):
  # As where a disk takes A.png and a.png for one, which is not known before.
  target = tmp_path / "a.png"
  jobs = [(folder / "rgb.png", target), (folder / "gray.png", target)]
  monkeypatch.setattr(jobs_lib, "plan_outputs", lambda *_, **__: jobs)
  assert upscale([folder], weights, tmp_path) == 1
  assert "a.png holds another image's result" in caplog.text
  assert not image_file.read(target).gray


@pytest.mark.parametrize("name", ["日" * 80, "😀" * 60, "caf\udce9"])
def test_names_of_all_letters(folder, weights, tmp_path, name):
  os.replace(folder / "rgb.png", folder / f"{name}.png")
  upscale([folder / f"{name}.png"], weights, tmp_path / "out")
  assert os.listdir(tmp_path / "out") == [f"{name}_x2.png"]


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
