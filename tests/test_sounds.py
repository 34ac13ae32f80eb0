"""The embedded sounds: what every event keeps, and that classes and sources differ."""

import numpy as np
import pytest
from conftest import refused

from wsaed.corpora.sounds import CLASSES, MODELS, draw_source, render
from wsaed.features import FRONT_ENDS, log_mel

EVERY = pytest.mark.parametrize(("name", "subtype"), [(n, k) for n in CLASSES for k in (0, 1)])


def event(name, subtype, seconds=2.0, source=0, take=0, rate=16_000):
    who = draw_source(name, subtype, np.random.default_rng([1, source]))
    return render(name, who, seconds, np.random.default_rng([2, source, take]), rate)


def colour(x):
    """Mean log-mel of an event in faint white noise, 15 dB below it: (64,)."""
    front_end = FRONT_ENDS["secost_40ms"]
    x = x + 0.18 * np.random.default_rng(len(x)).standard_normal(len(x))
    return log_mel(0.1 * x, front_end)[: len(x) // front_end.hop].astype(float).mean(0)


def test_names_are_of_one_piece():
    assert len(CLASSES) == 20 and list(CLASSES) == list(MODELS)
    subtypes = [name for sound in CLASSES.values() for name in sound["subtypes"]]
    assert len({*CLASSES, *subtypes}) == 60
    for name, sound in CLASSES.items():
        assert sound["sibling"] != name
        assert CLASSES[sound["sibling"]]["family"] == sound["family"]
    families = [sound["family"] for sound in CLASSES.values()]
    assert families == ["domestic"] * 10 + ["urban"] * 10


@EVERY
def test_an_event_is_a_clean_sound(name, subtype):
    for seconds, rate in ((0.1, 16_000), (0.25, 16_000), (0.9, 44_100), (4.0, 16_000)):
        for take in range(2):
            x = event(name, subtype, seconds, take, take, rate)
            whole = round(seconds * rate)
            assert x.dtype == np.float32 and x.ndim == 1 and np.isfinite(x).all()
            assert min(whole, round(0.25 * rate)) <= len(x) <= whole
            assert CLASSES[name].get("ends") or len(x) == whole
            assert np.sqrt(np.mean(x.astype(float) ** 2)) == pytest.approx(1, abs=1e-3)
            assert abs(x.mean(dtype=float)) < 1e-4
            assert abs(x[0]) < 0.1 and abs(x[-1]) < 0.1  # no clicks at the edges


@EVERY
def test_the_same_arguments_give_the_same_event_and_others_another(name, subtype):
    x, again = event(name, subtype, 1.0), event(name, subtype, 1.0, take=1)
    assert np.array_equal(x, event(name, subtype, 1.0))
    n = min(len(x), len(again))
    assert not np.allclose(x[:n], again[:n])
    kinds = subtype, subtype, 1 - subtype
    who, same, other = (draw_source(name, kind, np.random.default_rng(3)) for kind in kinds)
    assert all(type(value) is float and value > 0 for value in who.values())
    assert who == same != other


@pytest.mark.parametrize("name", CLASSES)
def test_sources_and_subtypes_differ(name):
    heard = [colour(event(name, s % 2, 2.0, s, take)) for s in range(12) for take in range(2)]
    takes = np.reshape(heard, (12, 2, -1))  # (sources, takes, mels)
    within = takes.var(axis=1, ddof=1).mean()
    between = takes.mean(axis=1).var(axis=0, ddof=1).mean()
    assert 2 * between > 1.6 * within  # analysis of variance: 1 where sources are all alike
    one, other = takes[::2].mean(axis=1), takes[1::2].mean(axis=1)
    spread = (one.var(axis=0, ddof=1) + other.var(axis=0, ddof=1)).mean() / 2
    # 1/3 is what chance gives between two means of six
    assert np.square(one.mean(axis=0) - other.mean(axis=0)).mean() > spread / 2


def test_classes_can_be_told_apart_but_not_from_their_mean_spectrum_alone():
    def some(sources):
        return np.array([[colour(event(n, s % 2, 1.5, s)) for s in sources] for n in CLASSES])

    known, new = some(range(10)), some(range(100, 106))
    centres = known.mean(axis=1)
    nearest = ((new[:, :, None] - centres) ** 2).sum(-1).argmin(-1)
    assert 0.35 < (nearest == np.arange(20)[:, None]).mean() < 0.9  # chance is 0.05
    # and a named sibling is among the nearer half of its family
    names = list(CLASSES)
    for i, (name, sound) in enumerate(CLASSES.items()):
        alike = [j for j in range(20) if CLASSES[names[j]]["family"] == sound["family"] and j != i]
        order = sorted(alike, key=lambda j: ((centres[i] - centres[j]) ** 2).sum())
        assert names.index(sound["sibling"]) in order[:5], name


BAD_CALLS = [
    (lambda rng: draw_source("Cow", 0, rng), "unknown sound class 'Cow'; use one of: Alarm"),
    (lambda rng: draw_source("Cat", 2, rng), "Cat has no sub-type 2"),
    (lambda rng: render("Cow", {}, 1.0, rng), "unknown sound class 'Cow'"),
    (lambda rng: render("Cat", draw_source("Cat", 0, rng), 0, rng), "ask for more seconds"),
]


@pytest.mark.parametrize("call, says", BAD_CALLS)
def test_bad_input_gets_one_line(call, says):
    with refused(says):
        call(np.random.default_rng(0))
