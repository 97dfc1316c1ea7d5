import dataclasses
import errno
import itertools
import struct

import numpy as np
from PIL import Image
from PIL import ImageCms
from PIL import PngImagePlugin
import pytest
import tifffile

from bamjax.errors import UserError
from bamjax.images import image_file
from bamjax.images.image_file import ImageData
from bamjax.images.rgb import read_rgb

rng = np.random.default_rng(0)
DEEP = rng.integers(0, 65536, (13, 9, 3), dtype=np.uint16)
COLOR = rng.integers(0, 256, (13, 9, 3), dtype=np.uint8)
# What JPEG and WebP keep nearly as it is.
SMOOTH = np.asarray(Image.fromarray(COLOR[:2, :2]).resize((9, 13)))
ALPHA = rng.integers(0, 256, (13, 9), dtype=np.uint8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GRAY = SRGB[:16] + b"GRAY" + SRGB[20:]


def gray(color):
  return np.broadcast_to(color[..., :1], color.shape)


@pytest.mark.parametrize("ext", ["png", "tif"])
@pytest.mark.parametrize("kind", ["gray", "graya", "rgb", "rgba"])
def test_sixteen_bits_come_back_to_the_bit(tmp_path, ext, kind):
  is_gray = kind.startswith("gray")
  color = gray(DEEP) if is_gray else DEEP
  alpha = DEEP[::-1, ::-1, 0] if kind.endswith("a") else None
  path = tmp_path / f"image.{ext}"
  icc = GRAY if is_gray else SRGB
  image_file.write(path, ImageData(color, alpha, is_gray, icc, (72.0, 96.0)))
  back = image_file.read(path)
  assert back.color.dtype == np.uint16 and back.gray == is_gray
  np.testing.assert_array_equal(back.color, color)
  if alpha is None:
    assert back.alpha is None
  else:
    np.testing.assert_array_equal(back.alpha, alpha)
  assert back.icc == icc
  np.testing.assert_allclose(back.dpi, (72, 96), atol=0.02)


@pytest.mark.parametrize("ext", ["png", "tif", "webp", "bmp", "jpg"])
@pytest.mark.parametrize("kind", ["gray", "rgb", "rgba"])
def test_eight_bits_come_back(tmp_path, ext, kind, caplog):
  color = gray(SMOOTH) if kind == "gray" else SMOOTH
  alpha = np.full((13, 9), 255, np.uint8) if kind == "rgba" else None
  path = tmp_path / f"image.{ext}"
  image_file.write(path, ImageData(color, alpha, kind == "gray"))
  back = image_file.read(path)
  lossy = {"webp": 40, "jpg": 20}.get(ext, 0)
  np.testing.assert_allclose(back.color.astype(int), color, atol=lossy)
  without = ext in ("bmp", "jpg")
  assert ("blended with white" in caplog.text) == (kind == "rgba" and without)
  if not without and kind == "rgba" and ext != "webp":
    np.testing.assert_array_equal(back.alpha, alpha)


def test_transparency_is_blended_with_white_if_it_cannot_be_kept(tmp_path):
  alpha = np.zeros((13, 9), np.uint8)
  alpha[:, 4:] = 255
  image_file.write(tmp_path / "a.bmp", ImageData(COLOR, alpha))
  back = image_file.read(tmp_path / "a.bmp").color
  assert (back[:, :4] == 255).all()
  np.testing.assert_array_equal(back[:, 4:], COLOR[:, 4:])


def test_sixteen_bits_are_rounded_if_they_cannot_be_kept(tmp_path, caplog):
  image_file.write(tmp_path / "a.bmp", ImageData(DEEP))
  assert "8 bits per channel; rounded from 16" in caplog.text
  back = image_file.read(tmp_path / "a.bmp").color
  np.testing.assert_array_equal(back, np.floor(DEEP / 257 + 0.5))


def test_palettes_gray_with_alpha_and_keyed_colors_are_read(tmp_path):
  image = Image.fromarray(COLOR)
  image.quantize(8).save(tmp_path / "p.png")
  back = image_file.read(tmp_path / "p.png")
  assert back.alpha is None and not back.gray
  np.testing.assert_array_equal(back.color, image.quantize(8).convert("RGB"))
  image.quantize(8).save(tmp_path / "t.png", transparency=3)
  back = image_file.read(tmp_path / "t.png")
  keyed = np.asarray(image.quantize(8)) == 3
  np.testing.assert_array_equal(back.alpha, np.where(keyed, 0, 255))
  la = Image.merge("LA", [image.getchannel(0), Image.fromarray(ALPHA)])
  la.save(tmp_path / "la.png")
  back = image_file.read(tmp_path / "la.png")
  assert back.gray
  np.testing.assert_array_equal(back.alpha, ALPHA)
  image.convert("1").save(tmp_path / "one.png")
  assert set(np.unique(image_file.read(tmp_path / "one.png").color)) == {0, 255}


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
    image_file.write(source, ImageData(color))
    exif = None
  elif deep:
    exif[0x0112] = 6
    image_file.write(source, ImageData(color, exif=exif))
  else:
    exif[0x0112] = 6  # shown turned by 90° clockwise
    options = {"quality": 100, "dpi": (200, 200), "icc_profile": SRGB}
    Image.fromarray(color).save(source, exif=exif, **options)
  image = image_file.read(source)
  if exif is None:
    np.testing.assert_array_equal(image.color, color)
    return
  assert image.color.shape == (9, 13, 3)
  turned = np.rot90(color, -1).astype(int)
  off = 40 if ext in ("jpg", "webp") else 0
  np.testing.assert_allclose(image.color.astype(int), turned, atol=off)
  large = np.repeat(np.repeat(image.color, 2, axis=0), 2, axis=1)
  image_file.write(
    target,
    ImageData(large, None, False, image.icc, image.dpi, image.exif),
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
  again = image_file.read(target)
  assert again.color.shape == (18, 26, 3)


def test_cmyk_becomes_rgb_without_its_profile(tmp_path):
  white = Image.new("CMYK", (5, 4), (0, 0, 0, 0))
  white.save(tmp_path / "a.jpg", icc_profile=b"broken")
  image = image_file.read(tmp_path / "a.jpg")
  assert (image.color > 250).all() and image.icc is None


def test_unreadable_files_are_named_in_one_line(tmp_path):
  noise = rng.integers(0, 256, (99, 99, 3), dtype=np.uint8)
  image_file.write(tmp_path / "whole.png", ImageData(noise))
  data = (tmp_path / "whole.png").read_bytes()
  (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
  image_file.write(
    tmp_path / "deep.png", ImageData(noise.astype(np.uint16) * 257)
  )
  data = (tmp_path / "deep.png").read_bytes()
  (tmp_path / "cut16.png").write_bytes(data[: len(data) // 2])
  (tmp_path / "text.png").write_text("not an image")
  (tmp_path / "empty.png").touch()
  Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tif")
  names = ("cut.png", "cut16.png", "text.png", "empty.png", "float.tif", "no")
  for name, read in itertools.product(names, (image_file.read, read_rgb)):
    with pytest.raises(UserError, match=name) as caught:
      read(tmp_path / name)
    assert "\n" not in str(caught.value)


def described(**tags):
  exif = Image.Exif()
  exif[0x010F] = "Maker"
  exif.get_ifd(0x8769)[0x9286] = b"comment"
  for number, value in tags.items():
    exif[int(number[1:], 16)] = value
  return exif


@pytest.mark.parametrize("ext", ["jpg", "webp", "tif", "png"])
@pytest.mark.parametrize(
  "name, exif",
  [
    ("YCbCrPositioning", described(x0213=b"\x01")),
    ("Software", described(x0131=1.5)),
    ("DateTimeOriginal", described(x9003=("a", "b"))),
    ("Copyright", described(x8298=b"c" * 70_000)),
  ],
)
def test_an_odd_tag_is_left_out_alone(tmp_path, caplog, ext, name, exif):
  path = tmp_path / f"a.{ext}"
  image_file.write(path, ImageData(SMOOTH, exif=exif))
  large = name == "Copyright" and ext != "jpg"
  lost = [] if large else [f"EXIF's {name}"]
  lost += ["EXIF's date, exposure and place"] if ext == "tif" else []
  kind = image_file._FORMATS[path.suffix]
  expected = [f"{path}: {kind} cannot hold {', '.join(lost)}"] if lost else []
  assert caplog.messages == expected
  with Image.open(path) as file:
    found = file.getexif()
    assert found[0x010F] == "Maker"
    if ext != "tif":
      assert found.get_ifd(0x8769)[0x9286] == b"comment"


def test_the_smallest_exif_tags_are_kept_if_there_are_too_many(
  tmp_path, caplog
):
  exif = described(x8298=b"c" * 40_000, x013B=b"a" * 30_000)
  image_file.write(tmp_path / "a.jpg", ImageData(SMOOTH, exif=exif))
  assert "JPEG cannot hold EXIF's Copyright" in caplog.text
  with Image.open(tmp_path / "a.jpg") as file:
    assert set(file.getexif()) >= {0x010F, 0x013B, 0x8769}


@pytest.mark.parametrize("ext", ["jpg", "bmp", "tif", "png", "webp"])
@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(
  "dpi", [(np.nan, np.nan), (72.0, np.nan), (4e9, 4e9), (-1.0, 72.0)]
)
def test_an_odd_density_is_left_out(tmp_path, caplog, ext, deep, dpi):
  path = tmp_path / f"a.{ext}"
  color = DEEP if deep else SMOOTH
  image_file.write(path, ImageData(color, icc=SRGB, dpi=dpi))
  assert "the density (" in caplog.text
  back = image_file.read(path)
  assert back.dpi is None or max(back.dpi) < 97  # a library's default
  assert back.icc == (None if ext == "bmp" else SRGB)


@pytest.mark.parametrize("ext", ["jpg", "bmp", "tif", "png", "webp"])
@pytest.mark.parametrize("deep", [False, True])
def test_a_profile_is_of_the_files_own_colors(tmp_path, caplog, ext, deep):
  path = tmp_path / f"a.{ext}"
  for is_gray in (False, True):
    color = DEEP if deep else SMOOTH
    color = gray(color) if is_gray else color
    own = GRAY if is_gray and ext != "webp" else SRGB
    for icc in (SRGB, GRAY, own[:16] + b"CMYK" + own[20:], b"broken"):
      caplog.clear()
      image_file.write(path, ImageData(color, gray=is_gray, icc=icc))
      kept = icc == own and ext != "bmp"
      assert ("cannot hold the color profile" in caplog.text) != kept
      with Image.open(path) as file:
        assert file.info.get("icc_profile") == (icc if kept else None)


@pytest.mark.parametrize("name", ["a.bmp", "deep.tif"])
def test_exif_that_cannot_be_stored_is_logged(tmp_path, caplog, name):
  color = DEEP if name == "deep.tif" else SMOOTH
  image_file.write(tmp_path / name, ImageData(color, exif=described()))
  assert "cannot hold EXIF data" in caplog.text


@pytest.mark.parametrize("compression", [None, "jpeg", "zlib"])
def test_a_file_without_exif_loses_none(tmp_path, caplog, compression):
  color = SMOOTH if compression == "jpeg" else DEEP
  if compression == "jpeg":  # whose tables are in a tag
    Image.fromarray(color).save(tmp_path / "a.tif", compression="jpeg")
  else:  # the program and the array's shape are in tags
    tifffile.imwrite(
      tmp_path / "a.tif",
      color,
      photometric="rgb",
      compression=compression,
    )
  image = image_file.read(tmp_path / "a.tif")
  deep = dataclasses.replace(image, color=DEEP)
  image_file.write(tmp_path / "b.tif", deep)
  image_file.write(tmp_path / "b.bmp", dataclasses.replace(image, color=SMOOTH))
  assert not caplog.messages
  tifffile.imwrite(
    tmp_path / "a.tif", DEEP, photometric="rgb", description="A scan"
  )
  image_file.write(tmp_path / "b.tif", image_file.read(tmp_path / "a.tif"))
  assert "b.tif: TIFF cannot hold the tags ImageDescription" in caplog.text


@pytest.mark.parametrize("deep", [False, True])
def test_gamma_stays_in_png_and_is_logged_elsewhere(tmp_path, caplog, deep):
  info = PngImagePlugin.PngInfo()
  info.add(b"gAMA", struct.pack(">I", 100_000))
  info.add_text("Author", "Zoë")
  Image.fromarray(COLOR).save(tmp_path / "a.png", pnginfo=info)
  read = image_file.read(tmp_path / "a.png")
  assert read.gamma == 1
  if deep:
    read = dataclasses.replace(read, color=read.color.astype(np.uint16) * 257)
  image_file.write(tmp_path / "b.png", read)
  with Image.open(tmp_path / "b.png") as file:
    assert file.info["gamma"] == 1 and file.text == {"Author": "Zoë"}
  assert not caplog.messages
  read = dataclasses.replace(read, text={})
  for gamma, icc in ((0.45455, None), (1.0, SRGB)):  # no warning
    other = dataclasses.replace(read, gamma=gamma, icc=icc)
    image_file.write(tmp_path / "b.tif", other)
    assert not caplog.messages
  image_file.write(tmp_path / "b.tif", read)
  assert "TIFF cannot hold PNG's gamma (1)" in caplog.text


@pytest.mark.parametrize("deep", [False, True])
def test_all_that_is_written_can_be_opened(tmp_path, caplog, deep):
  color = DEEP if deep else COLOR
  noise = rng.integers(0, 256, 1_100_000, dtype=np.uint8).tobytes()
  noise = SRGB + noise[len(SRGB) :]
  text = {"workflow": "x" * 1_300_000, "parameters": "a 日"}
  image_file.write(tmp_path / "a.png", ImageData(color, icc=noise, text=text))
  assert "PNG cannot hold the color profile (1,100,000 bytes)" in caplog.text
  with Image.open(tmp_path / "a.png") as file:
    file.load()
    assert "icc_profile" not in file.info and file.text == text
  # Other formats can.
  image_file.write(tmp_path / "a.tif", ImageData(color, icc=noise))
  with Image.open(tmp_path / "a.tif") as file:
    assert file.info["icc_profile"] == noise


@pytest.mark.parametrize("deep", [False, True])
def test_text_in_png_is_kept_without_an_orientation(tmp_path, caplog, deep):
  info = PngImagePlugin.PngInfo()
  info.add_text("parameters", "a cat\nSteps: 20")
  info.add_text("Author", "Zoë 日")
  exif = Image.Exif()
  exif[0x0112] = 6
  info.add_text("Raw profile type exif", f"\nexif\n9\n{exif.tobytes().hex()}")
  turned = '<x tiff:Orientation="6"/>'
  info.add_itxt("XML:com.adobe.xmp", turned)
  Image.fromarray(COLOR).save(tmp_path / "a.png", pnginfo=info)
  read = image_file.read(tmp_path / "a.png")
  words = {"parameters": "a cat\nSteps: 20", "Author": "Zoë 日"}
  assert read.text == words
  if deep:
    read = dataclasses.replace(read, color=read.color.astype(np.uint16) * 257)
  image_file.write(tmp_path / "b.png", read)
  with Image.open(tmp_path / "b.png") as file:
    file.load()
    assert file.text == words and 0x0112 not in file.getexif()
  assert not caplog.messages
  image_file.write(tmp_path / "b.tif", read)
  assert "TIFF cannot hold PNG's text (parameters, Author)" in caplog.text


@pytest.mark.parametrize("alpha", [None, ALPHA // 128 * 255])
def test_lossless_webp_stays_lossless(tmp_path, alpha):
  whole = COLOR if alpha is None else np.dstack([COLOR, alpha])
  image, path = Image.fromarray(whole), tmp_path / "a.webp"
  image.save(path, lossless=True, exact=True, exif=described())
  read = image_file.read(path)
  assert read.lossless
  image_file.write(tmp_path / "b.webp", read)
  back = image_file.read(tmp_path / "b.webp")
  assert back.lossless and back.exif[0x010F] == "Maker"
  np.testing.assert_array_equal(back.color, COLOR)
  # Unless a quality is requested.
  image_file.write(tmp_path / "b.webp", read, quality=80)
  assert not image_file.read(tmp_path / "b.webp").lossless
  frames = [image, Image.fromarray(255 - whole)]
  for lossless in (True, False):
    frames[0].save(
      path, save_all=True, append_images=frames[1:], lossless=lossless
    )
    assert image_file.read(path).lossless == lossless


@pytest.mark.parametrize("ext", ["jpg", "webp"])
def test_quality_is_95_by_default(tmp_path, ext):
  sizes = {}
  for quality in (None, 95, 30):
    path = tmp_path / f"{quality}.{ext}"
    image_file.write(path, ImageData(COLOR), quality)
    sizes[quality] = path.stat().st_size
  assert sizes[30] < sizes[95] == sizes[None]


def test_errors_of_an_encoder_name_the_format(tmp_path, monkeypatch):
  def refuse(*args, **kwargs):
    raise struct.error("'H' format requires 0 <= number <= 65535")

  monkeypatch.setattr(Image.Image, "save", refuse)
  with pytest.raises(image_file.FormatError, match="cannot be written as BMP"):
    image_file.write(tmp_path / "a.bmp", ImageData(COLOR))
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("deep", [False, True])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, deep):
  path = tmp_path / "a.png"
  path.write_text("old")

  def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(Image.Image, "save", full)
  monkeypatch.setattr(image_file.png, "putchunk", full)
  with pytest.raises(UserError, match="No space left"):
    image_file.write(path, ImageData(DEEP if deep else COLOR))
  assert path.read_text() == "old"
  assert list(tmp_path.iterdir()) == [path]


def test_formats_that_cannot_hold_an_image_are_refused_early(tmp_path):
  with pytest.raises(UserError, match="unknown extension '.gif'"):
    image_file.check_output(tmp_path / "a.gif", 1, 1)
  with pytest.raises(UserError, match="at most 16383"):
    image_file.check_output(tmp_path / "a.webp", 1, 20000)
  image_file.check_output(tmp_path / "a.png", 1, 20000)
