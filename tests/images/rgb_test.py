from pathlib import Path

from PIL import Image
import pytest

from bamjax.errors import UserError
from bamjax.images.rgb import is_image
from bamjax.images.rgb import list_images
from bamjax.images.rgb import read_rgb


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
