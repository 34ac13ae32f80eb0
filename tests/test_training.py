"""The loop: exact resume, a refused checkpoint, slices of a batch, features too large to hold."""

import pickle

import numpy as np
import pytest
import torch
from conftest import refused

from wsaed import training
from wsaed.corpora import Shards


def job(folder, epochs, stop_after=None, features=4):
    torch.manual_seed(0)
    layers = [torch.nn.Linear(features, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1)]
    plain, beside = torch.nn.Sequential(*layers), torch.nn.Linear(1, 1)
    x = torch.arange(40 * features).reshape(40, features) / 100
    taken = []

    def losses(net, rows):
        if len(taken) == 5 * (stop_after or -1):
            raise KeyboardInterrupt
        return {"loss": (net(x[rows]) - x[rows, :1]).square().mean()}

    def after(rows):
        taken.append(rows)
        beside.weight.data += plain[0].weight.mean()  # as a mean teacher follows its student

    budget = {"epochs": epochs, "learning_rate": 0.01}
    more = dict(schedule=training.one_cycle, after=after, beside=beside, trunk=plain[0])
    more["validate"] = lambda: -abs(float(plain[0].weight.detach().mean()) - 0.03)
    more |= dict(seed=3, folder=folder, batches=lambda k: training.shuffled(40, 8, 3, k))
    rows = training.fit(plain, losses, budget=budget, **more)
    return rows, plain.state_dict() | {"beside": beside.weight}


def test_resumed_training_ends_in_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setenv("CHECKPOINT_SECONDS", "0")
    rows, whole = job(tmp_path / "a", 6)
    with pytest.raises(KeyboardInterrupt):
        job(tmp_path / "b", 6, stop_after=4)
    resumed_rows, resumed = job(tmp_path / "b", 6)
    assert rows == resumed_rows
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)


def learned(scores):
    """The rows and the last weight of a net w = 1, 2, ... that is scored so after each epoch."""
    net = torch.nn.Linear(1, 1, bias=False)
    told = iter(scores)

    def losses(_, batch):
        return {"loss": net.weight.sum(), "twice": 2 * net.weight.sum(), "none": torch.tensor(3.0)}

    def after(batch):
        net.weight.data.fill_(batch)

    budget = {"epochs": len(scores), "learning_rate": 0.1}
    more = dict(seed=0, after=after, validate=lambda: next(told), trunk=net)
    rows = training.fit(net, losses, lambda epoch: [epoch + 1], budget, **more)
    return rows, net.weight.item()


def test_the_best_epoch_is_kept_the_first_among_equals_and_terms_slopes_are_told():
    rows, kept = learned([0.1, 0.4, 0.2, 0.4])
    assert [row["validation"] for row in rows] == [0.1, 0.4, 0.2, 0.4] and kept == 2
    assert learned([0.0, 0.0])[1] == 1 and learned([0.1, 0.2])[1] == 2
    assert rows[0]["twice'"] == 2 and not {"loss'", "none'"} & rows[0].keys()


def test_no_checkpoint_within_a_minute_and_one_of_another_shape_is_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("CHECKPOINT_SECONDS", raising=False)
    job(tmp_path, 3)
    assert not (tmp_path / training.CHECKPOINT).exists()
    monkeypatch.setenv("CHECKPOINT_SECONDS", "0")
    job(tmp_path, 3)
    with refused(r"checkpoint\.pt: a checkpoint of another shape"):
        job(tmp_path, 3, features=5)


def test_batches_cover_every_clip_once_and_leave_no_single():
    for count in (1, 31, 32, 33, 65, 100):
        batches = training.shuffled(count, 32, seed=1, epoch=2)
        assert sorted(np.concatenate(batches)) == list(range(count))
        assert count == 1 or min(map(len, batches)) > 1
    draws = [(1, 2), (1, 2), (1, 3), (2, 2)]
    once, again, *others = (np.concatenate(training.shuffled(50, 8, *draw)) for draw in draws)
    assert (once == again).all() and all((once != other).any() for other in others)


def test_one_cycle_rises_then_falls():
    factors = np.array([training.one_cycle(progress) for progress in np.linspace(0, 1, 101)[:-1]])
    assert factors.argmax() == 25 and factors.max() == pytest.approx(1)
    assert (factors > 0).all() and factors[-1] < 0.01
    assert (np.diff(factors[:26]) > 0).all() and (np.diff(factors[25:]) < 0).all()


def test_shards_read_ahead_give_the_rows_that_memory_gives(tmp_path, monkeypatch):
    whole = np.random.default_rng(0).normal(size=(23, 5, 3)).astype(np.float16)
    for k, piece in enumerate(np.split(whole, [10, 20])):
        np.save(tmp_path / f"{k}.npy", piece)
    shards = Shards(tuple(tmp_path / f"{k}.npy" for k in range(3)))
    assert (shards[:] == whole).all() and (shards[[22, 0, 11]] == whole[[22, 0, 11]]).all()
    assert (shards[4] == whole[4]).all()
    sent = pickle.dumps(shards)  # to a spawned worker: the paths, not the arrays
    assert len(sent) < 1000 + 3 * len(str(tmp_path)) and (pickle.loads(sent)[:] == whole).all()
    batches = [np.array([3, 22, 9]), np.array([10, 0])]
    in_memory = list(training.rows_of(training.resident(shards), batches))
    monkeypatch.setattr(training, "IN_MEMORY", 0)
    streamed = list(training.rows_of(training.resident(shards), batches))
    for (x, i), (z, j) in zip(in_memory, streamed, strict=True):
        assert torch.equal(x, z) and torch.equal(i, j)
