import re
import tomllib

import pytest

import plant

FAULTS = tomllib.loads(plant.FAULTS.read_text())["fault"]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault["name"])
def test_a_fault_changes_one_place_and_names_its_tests(fault):
  text = (plant.ROOT / fault["file"]).read_text()
  assert plant.planted(text, fault) != text
  tests = re.findall(r"tests/\S+", fault["tests"])
  assert tests
  assert [t for t in tests if not (plant.ROOT / t).exists()] == []


def test_names_of_faults_differ():
  names = [fault["name"] for fault in FAULTS]
  assert len(set(names)) == len(names)
