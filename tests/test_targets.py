"""Target sound detection's corpus: roles and domains, pairs of clip and target, references."""

import numpy as np
import pytest
from conftest import REAL, needs_real
from recorded import make_bank, use_bank

from wsaed.corpora import bank, load, pairs, shapes
from wsaed.features import FRONT_ENDS

SIZES = {"base_a": 60, "base_b": 60, "novel": 60, "validation": 40, "test": 200, "references": 6}
ASKED = tuple(SIZES)[:-1]
PARTS = (*ASKED, "training", "testing")  # of a bank's recordings


def made(**spec):
    return load({"name": "soundscapes", "shape": "targets", **SIZES, **spec}, 0)


def references(**spec):
    return made(**dict.fromkeys(ASKED, 1), **spec)["references"]


@pytest.fixture(scope="module")
def targets():
    return made()


@pytest.fixture(scope="module")
def roles(targets):
    found = shapes.target_roles(targets.labels)
    return found | {"validation": found["novel"], "test": found["novel"]}


def test_a_split_has_its_role_s_classes(targets, roles):
    for name in ASKED:
        split = targets[name]
        assert {e.label for events in split.hidden for e in events} == set(roles[name]), name
        classes = np.bincount(split.clean_labels.sum(1).astype(int), minlength=5)
        assert classes[0] == 0 and len(classes) == 5
    shares = targets["test"].clean_labels.mean(0)
    assert shares.max() < 1.6 * shares[shares > 0].min()
    many = np.bincount(targets["test"].clean_labels.sum(1).astype(int)) / 200
    assert many[1:] == pytest.approx([0.4, 0.35, 0.2, 0.05], abs=0.1)
    for role in ("base_a", "base_b", "novel"):
        assert f"{role}: {', '.join(roles[role])}" in targets.about


def test_a_reference_is_its_class_alone_for_ten_seconds(targets):
    split, labels = targets["references"], targets.labels
    assert np.array_equal(split.clip_labels, np.tile(np.eye(20), (SIZES["references"], 1)))
    for i, events in enumerate(split.hidden):
        assert [(e.label, e.onset, e.offset) for e in events] == [(labels[i % 20], 0, 10)]
    loud, shot = references(snr=[40, 40]), labels.index("gun_shot")
    sounds, source = loud.waveform.args[0].sounds, int(loud.hidden[shot][0].source.split("/")[2])
    once = sounds.render("gun_shot", "references", source, 10.0, np.random.default_rng(0))
    assert len(once) < 80_000  # it ends by itself, so that only repeats fill the clip
    levels = [np.mean(w**2) for w in loud.waveform(shot).reshape(4, -1)]
    assert 10 * np.log10(max(levels) / min(levels)) < 6


def test_references_for_training_and_for_testing_share_no_source(targets):
    split = targets["references"]
    training, testing = pairs.halves(split.clip_labels)
    for label, *parts in zip(targets.labels, training, testing, strict=True):
        assert list(map(len, parts)) == [3, 3] and max(parts[0]) < min(parts[1])
        heard = {split.hidden[row][0].source for part in parts for row in part}
        assert len(heard) == 6 and all(s.startswith(f"{label}/references/") for s in heard)
    # more references than sources, and an odd number: still apart
    many = references(references=31)
    for first, half in zip((0, 10), pairs.halves(many.clip_labels), strict=True):
        numbers = {int(many.hidden[row][0].source.split("/")[2]) for row in half[4]}
        assert numbers == set(range(first, first + 10))


def test_references_of_other_numbers_are_cached_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("CACHE", str(tmp_path))
    monkeypatch.setattr("wsaed.corpora.SHARD", 4)
    # clips 20 to 23: the second references of four classes
    both = (references(references=n) for n in (2, 4))
    two, four = (split.features(FRONT_ENDS["tsd_40ms"], only=5)[:] for split in both)
    assert two.shape == (4, 250, 32)
    assert not any(np.array_equal(a, b) for a, b in zip(two, four, strict=True))


def naive_pairs(clip_labels, classes, given):
    """Replays the questions one by one: each must be one that the rule allows at its turn."""
    asked, n = dict.fromkeys(classes, 0), 0
    for clip, row in enumerate(clip_labels):
        there = [k for k in classes if row[k]]
        absent = [k for k in classes if not row[k]]
        for k in there:
            assert (given.clip[n], given.label[n], given.present[n]) == (clip, k, True)
            n += 1
        for _ in range(min(len(there) // 2 + 1, len(absent))):
            k = given.label[n]
            assert given.clip[n] == clip and not given.present[n]
            assert k in absent and asked[k] == min(asked[other] for other in absent)
            absent.remove(k)
            asked[k] += 1
            n += 1
    assert n == len(given.clip)
    return asked


def test_pairs_follow_the_rule():
    rng = np.random.default_rng(0)
    for classes, share in (((5, 2, 3, 0), 0.5), (tuple(range(1, 12)), 0.2), ((4,), 0.5)):
        given = (rng.random((300, 12)) < share).astype(np.float32)
        found = pairs.pairs(given, classes, 7)
        assert [part.dtype.kind for part in found] == ["i", "i", "b"]
        naive_pairs(given, classes, found)
        again, other = pairs.pairs(given, classes, 7), pairs.pairs(given, classes, 8)
        assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))
        assert np.array_equal(found.label, other.label) == (len(classes) == 1)  # ties are drawn
    # twelve classes in turn: the one silent clip after another is asked for all of them
    silent = pairs.pairs(np.zeros((24, 12)), range(12), 0)
    assert np.array_equal(np.bincount(silent.label), np.full(12, 2)) and not silent.present.any()
    nothing = pairs.pairs(np.zeros((0, 12)), range(12), 0)
    assert [len(part) for part in nothing] == [0, 0, 0]


def test_a_split_is_asked_for_its_role_s_classes(targets, roles):
    for name in ASKED:
        split = targets[name]
        columns = [targets.labels.index(label) for label in roles[name]]
        asked = naive_pairs(split.clip_labels, columns, split.pairs)
        assert max(asked.values()) - min(asked.values()) <= 4, name
        for clip, label, present in zip(*split.pairs, strict=True):
            heard = any(e.label == targets.labels[label] for e in split.hidden[clip])
            assert heard == present
    assert targets["references"].pairs is None
    assert load({"name": "soundscapes", "train": 3}, 0)["train"].pairs is None


def test_label_noise_reaches_the_pairs_of_novel_clips_alone(targets):
    noisy = made(noise=2.0)
    for name in ASKED:
        same = np.array_equal(noisy[name].pairs.present, targets[name].pairs.present)
        assert same == (name != "novel")
    given, (clip, label, present) = noisy["novel"].clip_labels, noisy["novel"].pairs
    assert np.array_equal(given[clip, label] > 0, present)


def test_references_are_drawn_from_the_class_s_own():
    one_hot = np.tile(np.eye(3), (8, 1))
    training, testing = pairs.halves(one_hot)
    found = pairs.pairs(np.tile([[1, 0, 1]], (300, 1)), range(3), 0)
    rows = pairs.reference(found, training, 5)
    assert np.array_equal(one_hot[rows].argmax(1), found.label) and rows.max() < 12
    assert pairs.reference(found, testing, 5).min() >= 12
    counts = np.bincount(rows[found.label == 0])[training[0]]
    assert counts.sum() == 300 and counts.min() > 50  # four references, 75 times each
    assert np.array_equal(rows, pairs.reference(found, training, 5))
    assert not np.array_equal(rows, pairs.reference(found, training, 6))
    uneven = [np.array([4]), np.array([9, 11]), np.array([7])]
    drawn = pairs.reference(found, uneven, 0)
    assert set(zip(found.label, drawn, strict=True)) == {(0, 4), (1, 9), (1, 11), (2, 7)}
    with pytest.raises(ValueError, match="class 1, which has no reference clip"):
        pairs.reference(found, [uneven[0], np.array([], int), uneven[2]], 0)


def shared_out(corpus):
    """{split: {label: paths that it may use}}, the references as their two halves; no two share."""
    where, found = corpus["test"].waveform.args[0].sounds.where, {}
    for label in corpus.labels:
        mine = {s: [r.path for r in bank.choose(where, label, s)] for s in corpus.splits}
        both = mine.pop("references")
        mine |= {"training": both[: len(both) // 2], "testing": both[len(both) // 2 :]}
        roles = shapes.target_roles(corpus.labels)
        roles |= {"validation": roles["novel"], "test": roles["novel"]}
        used = [mine[part] for part in PARTS if label in roles.get(part, [label])]
        assert all(used) and sum(map(len, used)) == len({path for paths in used for path in paths})
        for split, paths in mine.items():
            found.setdefault(split, {})[label] = paths
    return found


def test_a_bank_without_folds_is_shared_out(tmp_path, monkeypatch):
    make_bank(tmp_path, "abcdefgh", 8, monkeypatch)
    corpus = made(bank="sounds")
    found = shared_out(corpus)
    assert [len(found[part]["a"]) for part in PARTS] == [1, 1, 2, 1, 2, 1, 1]
    x = corpus["references"].waveform(3)  # 0.4 s of hiss, repeated
    levels = 10 * np.log10(np.mean(x.reshape(50, -1) ** 2, axis=1))
    assert x.shape == (160_000,) and np.ptp(levels) < 10


@needs_real
def test_folds_keep_references_and_scenes_apart(monkeypatch, tmp_path):
    use_bank(REAL / "esc10", tmp_path, monkeypatch)
    corpus = load({"name": "soundscapes", "shape": "targets", **SIZES, "bank": "esc10"}, 2)
    found = shared_out(corpus)
    for label in corpus.labels:
        paths = {name: mine[label] for name, mine in found.items()}
        folds = {name: {path.split("/")[1][0] for path in mine} for name, mine in paths.items()}
        assert folds["test"] == {"3"} and folds["validation"] == folds["testing"] == {"4"}
        assert all(folds[s] <= {"1", "2"} for s in ("base_a", "base_b", "novel", "training"))
    assert [len(found[part]["rain"]) for part in PARTS] == [4, 4, 8, 4, 8, 4, 4]
    for name in ("base_b", "novel", "test", "references"):
        x = corpus[name].waveform(0)
        assert x.shape == (160_000,) and np.isfinite(x).all() and abs(x).max() <= 1
