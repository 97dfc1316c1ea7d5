from bamjax.training.watch import Beats


def test_a_process_that_falls_silent_is_lost():
  beats = Beats([1, 2], 0.0)
  assert beats.lost(8.0, 8.0) == []
  for now in range(2, 20, 2):
    beats.hear({1: str(now), 2: str(min(now, 10))}, now)
  assert beats.lost(18.0, 8.0) == []
  assert beats.lost(18.5, 8.0) == [2]


def test_one_that_was_never_heard_of_is_lost():
  beats = Beats([0, 2], 0.0)
  beats.hear({0: "1"}, 7.0)
  assert beats.lost(9.0, 8.0) == [2]


def test_those_that_end_because_one_is_lost_are_not_named():
  beats = Beats([1, 2, 3], 0.0)
  beats.hear({1: "1", 2: "1", 3: "1"}, 2.0)
  beats.hear({1: "1", 2: "2", 3: "2"}, 4.0)
  beats.hear({1: "1", 2: "3", 3: "2"}, 20.0)
  assert beats.lost(40.0, 8.0) == [1, 3]
