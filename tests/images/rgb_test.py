from pathlib import Path

import numpy as np
from PIL import Image
import pytest

from bamjax.errors import UserError
from bamjax.images.rgb import is_image
from bamjax.images.rgb import list_images
from bamjax.images.rgb import read_rgb


@pytest.fixture
def rgb():
  return np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)


def test_reads_rgb_gray_rgba_palette_and_16_bits(tmp_path, rgb):
  image = Image.fromarray(rgb)
  image.save(tmp_path / "rgb.png")
  np.testing.assert_array_equal(read_rgb(tmp_path / "rgb.png"), rgb)

  gray = image.convert("L")
  gray.save(tmp_path / "gray.png")
  expected = np.repeat(np.asarray(gray)[..., None], 3, axis=2)
  np.testing.assert_array_equal(read_rgb(tmp_path / "gray.png"), expected)

  image.putalpha(Image.new("L", image.size, 100))
  image.save(tmp_path / "rgba.png")
  np.testing.assert_array_equal(read_rgb(tmp_path / "rgba.png"), rgb)

  palette = Image.fromarray(rgb).quantize(8)
  palette.save(tmp_path / "palette.png")
  np.testing.assert_array_equal(
    read_rgb(tmp_path / "palette.png"), palette.convert("RGB")
  )

  deep = np.arange(0, 65536, 655, dtype=np.uint16)[:100].reshape(10, 10)
  Image.fromarray(deep).save(tmp_path / "deep.png")
  np.testing.assert_array_equal(
    read_rgb(tmp_path / "deep.png")[..., 0],
    np.floor(deep / 65535 * 255 + 0.5),
  )


def test_is_upright(tmp_path, rgb):
  exif = Image.Exif()
  exif[0x0112] = 6  # shown turned by 90° clockwise
  Image.fromarray(rgb).save(tmp_path / "turned.png", exif=exif)
  np.testing.assert_array_equal(
    read_rgb(tmp_path / "turned.png"), np.rot90(rgb, -1)
  )


def test_bad_files_are_named_in_one_line(tmp_path, rgb):
  rgb = np.random.default_rng(0).integers(0, 256, (99, 99, 3), dtype=np.uint8)
  Image.fromarray(rgb).save(tmp_path / "whole.png")
  data = (tmp_path / "whole.png").read_bytes()
  (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
  (tmp_path / "text.png").write_text("not an image")
  for name in ("cut.png", "text.png", "absent.png"):
    with pytest.raises(UserError, match=name) as caught:
      read_rgb(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_lists_images_by_extension(tmp_path):
  for name in ("b.PNG", "a.jpg", "c.txt", ".hidden.png"):
    (tmp_path / name).touch()
  (tmp_path / "folder.png").mkdir()
  found = [p.name for p in list_images(tmp_path)]
  assert found == ["a.jpg", "b.PNG"]
  with pytest.raises(UserError, match="there is no folder"):
    list_images(tmp_path / "absent")
  (tmp_path / "empty").mkdir()
  with pytest.raises(UserError, match="holds no image"):
    list_images(tmp_path / "empty")


@pytest.mark.parametrize(
  "name", ["a.gif", "a.JFIF", "a.ppm", "a.avif", "a.jp2"]
)
def test_what_pillow_reads_is_an_image(tmp_path, name):
  path = tmp_path / name
  kind = Image.registered_extensions()[path.suffix.lower()]
  if kind not in Image.SAVE or kind not in Image.OPEN:
    pytest.skip(f"Pillow was built without {kind}")
  Image.new("RGB", (8, 6)).save(path, kind)
  assert list_images(tmp_path) == [path]
  assert read_rgb(path).shape == (6, 8, 3)


@pytest.mark.parametrize("name", ["a.h5", "a.pdf", "a.eps", "a.mpg", "a.json"])
def test_what_pillow_does_not_read_by_itself_is_no_image(name):
  assert not is_image(name)


def test_other_contents_of_a_folder_are_counted(tmp_path, caplog):
  for name in ("a.png", "b.txt", "c.TXT", "d.svg", "e.heic", "f", ".hidden"):
    (tmp_path / name).touch()
  (tmp_path / "inner.png").mkdir()
  (tmp_path / "broken").symlink_to("absent")
  (tmp_path / "dangling.png").symlink_to("absent.png")
  (tmp_path / "loop.png").symlink_to("loop.png")
  # Broken links are included: reading them names them.
  found = [p.name for p in list_images(tmp_path)]
  assert found == ["a.png", "dangling.png", "loop.png"]
  counted = "1 .svg, 2 .txt, 1 broken link(s), 1 folder(s), 1 without extension"
  assert f"skipped 1 .heic, {counted}" in caplog.text
  list_images(tmp_path)
  assert len(caplog.records) == 1
  (tmp_path / "inner.png" / "b.txt").touch()
  with pytest.raises(UserError, match="holds no image .*; it holds 1 .txt"):
    list_images(tmp_path / "inner.png")


def test_a_folder_without_permission_is_reported(tmp_path, monkeypatch):
  def iterdir(self):
    raise PermissionError(13, "Permission denied", str(self))

  monkeypatch.setattr(Path, "iterdir", iterdir)
  with pytest.raises(UserError, match=r"cannot be read \(Permission denied\)"):
    list_images(tmp_path)
