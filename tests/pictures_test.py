import errno
import io

import numpy as np
from PIL import Image
from PIL import ImageCms
import pytest

from bamjax import pictures
from bamjax.errors import UserError
from bamjax.pictures import Picture

rng = np.random.default_rng(0)
DEEP = rng.integers(0, 65536, (13, 9, 3), dtype=np.uint16)
COLOR = rng.integers(0, 256, (13, 9, 3), dtype=np.uint8)
# What JPEG and WebP keep nearly as it is.
SMOOTH = np.asarray(Image.fromarray(COLOR[:2, :2]).resize((9, 13)))
ALPHA = rng.integers(0, 256, (13, 9), dtype=np.uint8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def gray(color):
  return np.broadcast_to(color[..., :1], color.shape)


@pytest.mark.parametrize("ext", ["png", "tif"])
@pytest.mark.parametrize("kind", ["gray", "rgb", "rgba"])
def test_sixteen_bits_come_back_to_the_bit(tmp_path, ext, kind):
  color = gray(DEEP) if kind == "gray" else DEEP
  alpha = DEEP[::-1, ::-1, 0] if kind == "rgba" else None
  path = tmp_path / f"picture.{ext}"
  pictures.write(
    path, Picture(color, alpha, kind == "gray", SRGB, (300.0, 300.0))
  )
  back = pictures.read(path)
  assert back.color.dtype == np.uint16 and back.gray == (kind == "gray")
  np.testing.assert_array_equal(back.color, color)
  if alpha is None:
    assert back.alpha is None
  else:
    np.testing.assert_array_equal(back.alpha, alpha)
  assert back.icc == SRGB
  np.testing.assert_allclose(back.dpi, 300, atol=0.01)


@pytest.mark.parametrize("ext", ["png", "tif", "webp", "bmp", "jpg"])
@pytest.mark.parametrize("kind", ["gray", "rgb", "rgba"])
def test_eight_bits_come_back(tmp_path, ext, kind, caplog):
  color = gray(SMOOTH) if kind == "gray" else SMOOTH
  alpha = np.full((13, 9), 255, np.uint8) if kind == "rgba" else None
  path = tmp_path / f"picture.{ext}"
  pictures.write(path, Picture(color, alpha, kind == "gray"))
  back = pictures.read(path)
  lossy = {"webp": 40, "jpg": 20}.get(ext, 0)
  np.testing.assert_allclose(back.color.astype(int), color, atol=lossy)
  without = ext in ("bmp", "jpg")
  assert ("laid on white" in caplog.text) == (kind == "rgba" and without)
  if not without and kind == "rgba" and ext != "webp":
    np.testing.assert_array_equal(back.alpha, alpha)


def test_transparency_is_laid_on_white_where_it_cannot_be_kept(tmp_path):
  alpha = np.zeros((13, 9), np.uint8)
  alpha[:, 4:] = 255
  pictures.write(tmp_path / "a.bmp", Picture(COLOR, alpha))
  back = pictures.read(tmp_path / "a.bmp").color
  assert (back[:, :4] == 255).all()
  np.testing.assert_array_equal(back[:, 4:], COLOR[:, 4:])


def test_sixteen_bits_are_rounded_where_they_cannot_be_kept(tmp_path, caplog):
  pictures.write(tmp_path / "a.bmp", Picture(DEEP))
  assert "8 bits a channel, not 16" in caplog.text
  back = pictures.read(tmp_path / "a.bmp").color
  np.testing.assert_array_equal(back, np.floor(DEEP / 257 + 0.5))


def test_palettes_gray_with_alpha_and_keyed_colors_are_read(tmp_path):
  image = Image.fromarray(COLOR)
  image.quantize(8).save(tmp_path / "p.png")
  back = pictures.read(tmp_path / "p.png")
  assert back.alpha is None and not back.gray
  np.testing.assert_array_equal(back.color, image.quantize(8).convert("RGB"))
  image.quantize(8).save(tmp_path / "t.png", transparency=3)
  back = pictures.read(tmp_path / "t.png")
  keyed = np.asarray(image.quantize(8)) == 3
  np.testing.assert_array_equal(back.alpha, np.where(keyed, 0, 255))
  la = Image.merge("LA", [image.getchannel(0), Image.fromarray(ALPHA)])
  la.save(tmp_path / "la.png")
  back = pictures.read(tmp_path / "la.png")
  assert back.gray
  np.testing.assert_array_equal(back.alpha, ALPHA)
  image.convert("1").save(tmp_path / "one.png")
  assert set(np.unique(pictures.read(tmp_path / "one.png").color)) == {0, 255}


@pytest.mark.parametrize("ext", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("deep", [False, True])
def test_orientation_is_applied_once_and_metadata_stay(tmp_path, ext, deep):
  if deep and ext in ("jpg", "webp"):
    pytest.skip("8 bits alone")
  exif = Image.Exif()
  exif[0x010F] = "Maker"
  exif.get_ifd(0x8769)[0xA002] = 9
  source, target = tmp_path / f"a.{ext}", tmp_path / f"b.{ext}"
  color = DEEP if deep else SMOOTH
  if deep and ext == "tif":
    pictures.write(source, Picture(color))
    exif = None
  elif deep:
    exif[0x0112] = 6
    pictures.write(source, Picture(color, exif=exif))
  else:
    exif[0x0112] = 6  # shown turned by 90° clockwise
    options = {"quality": 100, "dpi": (200, 200), "icc_profile": SRGB}
    Image.fromarray(color).save(source, exif=exif, **options)
  picture = pictures.read(source)
  if exif is None:
    np.testing.assert_array_equal(picture.color, color)
    return
  assert picture.color.shape == (9, 13, 3)
  turned = np.rot90(color, -1).astype(int)
  off = 40 if ext in ("jpg", "webp") else 0
  np.testing.assert_allclose(picture.color.astype(int), turned, atol=off)
  large = np.repeat(np.repeat(picture.color, 2, axis=0), 2, axis=1)
  pictures.write(
    target,
    Picture(large, None, False, picture.icc, picture.dpi, picture.exif),
  )
  with Image.open(target) as file:
    found = file.getexif()
    assert file.size == (26, 18)
    assert found.get(0x0112, 1) == 1 and found[0x010F] == "Maker"
    if ext != "tif":
      assert found.get_ifd(0x8769)[0xA002] == 26
    if not deep:
      assert file.info["icc_profile"] == SRGB
      if ext != "webp":  # which has no such field
        assert all(abs(float(x) - 200) < 0.1 for x in file.info["dpi"])
  again = pictures.read(target)
  assert again.color.shape == (18, 26, 3)


def test_cmyk_becomes_rgb_without_its_profile(tmp_path):
  white = Image.new("CMYK", (5, 4), (0, 0, 0, 0))
  white.save(tmp_path / "a.jpg", icc_profile=b"broken")
  picture = pictures.read(tmp_path / "a.jpg")
  assert (picture.color > 250).all() and picture.icc is None


def test_the_first_of_several_frames_is_taken_and_told(tmp_path, caplog):
  frames = [Image.fromarray(COLOR), Image.fromarray(255 - COLOR)]
  frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
  picture = pictures.read(tmp_path / "a.tif")
  np.testing.assert_array_equal(picture.color, COLOR)
  assert "several frames" in caplog.text


def test_unreadable_files_are_named_in_one_line(tmp_path):
  noise = rng.integers(0, 256, (99, 99, 3), dtype=np.uint8)
  pictures.write(tmp_path / "whole.png", Picture(noise))
  data = (tmp_path / "whole.png").read_bytes()
  (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
  pictures.write(tmp_path / "deep.png", Picture(noise.astype(np.uint16) * 257))
  data = (tmp_path / "deep.png").read_bytes()
  (tmp_path / "cut16.png").write_bytes(data[: len(data) // 2])
  (tmp_path / "text.png").write_text("not a picture")
  (tmp_path / "empty.png").touch()
  Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tif")
  names = ("cut.png", "cut16.png", "text.png", "empty.png", "float.tif", "no")
  for name in names:
    with pytest.raises(UserError, match=name) as caught:
      pictures.read(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("deep", [False, True])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, deep):
  path = tmp_path / "a.png"
  path.write_text("old")

  def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(Image.Image, "save", full)
  monkeypatch.setattr(pictures.png16, "_chunk", full)
  with pytest.raises(UserError, match="No space left"):
    pictures.write(path, Picture(DEEP if deep else COLOR))
  assert path.read_text() == "old"
  assert list(tmp_path.iterdir()) == [path]


def test_formats_that_cannot_hold_it_are_told_before(tmp_path):
  with pytest.raises(UserError, match="unknown extension '.gif'"):
    pictures.check_output(tmp_path / "a.gif", 1, 1)
  with pytest.raises(UserError, match="holds 16383"):
    pictures.check_output(tmp_path / "a.webp", 1, 20000)
  pictures.check_output(tmp_path / "a.png", 1, 20000)


def test_png_files_of_16_bits_hold_their_chunks(tmp_path):
  pictures.write(tmp_path / "a.png", Picture(DEEP, icc=SRGB, dpi=(72.0, 96.0)))
  with Image.open(io.BytesIO((tmp_path / "a.png").read_bytes())) as file:
    file.load()
    assert file.info["icc_profile"] == SRGB
    np.testing.assert_allclose(file.info["dpi"], (72, 96), atol=0.02)
