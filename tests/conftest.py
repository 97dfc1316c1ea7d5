"""Slow tests run with --slow, and wherever CI is set."""

import os

import pytest


def pytest_addoption(parser):
  parser.addoption("--slow", action="store_true", help="run slow tests too")


def pytest_configure(config):
  config.addinivalue_line("markers", "slow: runs with --slow, or in CI")


def pytest_collection_modifyitems(config, items):
  if config.getoption("--slow") or os.environ.get("CI"):
    return
  skip = pytest.mark.skip(reason="slow; run with --slow")
  for item in items:
    if "slow" in item.keywords:
      item.add_marker(skip)
