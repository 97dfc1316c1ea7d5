import numpy as np
import pytest

from bamjax.errors import UserError
from bamjax.evaluation import comparison
from bamjax.evaluation import crossed_factors
from bamjax.evaluation.tables import pair


def row(source, scores, protocol="matlab", **fields):
  suffix = "rgb" if protocol == "ntire" else "y"
  keys = (f"psnr_{suffix}", f"ssim_{suffix}")
  images = [
    {"name": name, **dict(zip(keys, values, strict=True))}
    for name, values in scores.items()
  ]
  means = {
    key: np.mean([image[key] for image in images])
    if images[0][key] is not None
    else None
    for key in keys
  }
  return {
    "source": source,
    "model": "imdn",
    "benchmark": "Set5",
    "scale": 2,
    "protocol": protocol,
    **means,
    "images": images,
    **fields,
  }


A = row("a", {"baby": (38.0, 0.96), "bird": (40.0, 0.98), "head": (35.0, 0.9)})
B = row("b", {"baby": (38.1, 0.97), "bird": (40.4, 0.98), "head": (35.1, 0.9)})


def test_differences_are_b_minus_a():
  found = comparison.compare(A, B)
  assert (found["a"], found["b"]) == ("a", "b")
  assert [image["name"] for image in found["images"]] == [
    "baby",
    "bird",
    "head",
  ]
  differences = [image["psnr_y"] for image in found["images"]]
  assert differences == pytest.approx([0.1, 0.4, 0.1])
  assert found["psnr_y"]["difference"] == pytest.approx(0.2)
  # Wider than the three differences, as it should be for so few.
  expected = crossed_factors.interval(np.array([[0.1, 0.4, 0.1]]))
  assert found["psnr_y"]["low"] == pytest.approx(expected.low)
  assert found["psnr_y"]["high"] == pytest.approx(expected.high)
  assert expected.low < 0.05 and expected.high > 0.5
  text = comparison.table(found).text()
  assert "+0.200" in text and "A: a" in text
  assert ("contains 0" in text) == (expected.low < 0)
  assert "another training of a network may change the sign" in text
  assert "contains 0" in comparison.table(comparison.compare(A, A)).text()


def test_a_single_image_has_no_interval():
  found = comparison.compare(
    *(row(n, {"baby": (38.0 + i, 0.9)}) for i, n in enumerate("ab"))
  )
  text = comparison.table(found).text()
  assert "+1.000" in text and "a single image has no confidence" in text
  assert "nan" not in text and "95 %" not in text


def test_images_equal_to_hr_are_left_out_of_mean_psnr():
  a, b = (
    row(n, {"flat": (np.inf, 1.0), "baby": (38.0 + i, 0.9)})
    for i, n in enumerate("ab")
  )
  found = comparison.compare(a, b)
  assert found["psnr_y"]["difference"] == 1
  text = comparison.table(found).text()
  assert "nan" not in text and "left out of mean PSNR: flat" in text
  assert "a single image" in text


def test_other_images_of_the_same_names_are_refused():
  a, b = (row(n, {"baby": (38.0, 0.9)}) for n in "ab")
  a["images"][0]["bicubic_psnr_y"] = 33.0
  b["images"][0]["bicubic_psnr_y"] = 33.0001
  assert comparison.compare(a, b)["psnr_y"]["difference"] == 0
  b["images"][0]["bicubic_psnr_y"] = 33.1
  with pytest.raises(UserError, match="baby is a different image"):
    comparison.compare(a, b)


def test_rgb_protocols_compare_rgb():
  scores = {"baby": (30.0, 0.9), "bird": (31.0, 0.8)}
  found = comparison.compare(*(row(n, scores, "ntire") for n in "ab"))
  assert found["psnr_rgb"]["difference"] == 0
  assert "psnr_y" not in found


@pytest.mark.parametrize(
  ("other", "message"),
  [
    ({**B, "scale": 4}, "scale differs: 2 and 4"),
    ({**B, "benchmark": "Set14"}, "benchmark differs"),
    ({**B, "protocol": "bam"}, "protocol differs"),
    (row("c", {"baby": (1, 0), "cat": (1, 0)}), "bird, cat, head"),
  ],
)
def test_unlike_rows_are_refused(other, message):
  with pytest.raises(UserError, match=message):
    comparison.compare(A, other)


def test_rows_without_scores_are_refused():
  empty = row("e", {"real": (None, None)})
  with pytest.raises(UserError, match="no HR images"):
    comparison.compare(empty, empty)


def test_pairs_are_printed_as_in_the_field():
  assert pair(38.004, 0.96049) == "38.00/.9605"
  assert pair(float("inf"), 1.0) == "inf/1.0000"
  assert pair(None, None) == "–"
