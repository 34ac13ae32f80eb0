"""What nets cost: multiply-adds against the products of their equations, CPU time."""

import time

import pytest
import torch

from wsaed import costs, features, nets, parameters
from wsaed.shallow import systems


def test_an_lstm_costs_every_weight_once_a_step():
    net, x = torch.nn.LSTM(5, 4, 3, batch_first=True).eval(), torch.randn(1, 6, 5)
    count = 6 * 4 * 4 * ((5 + 4) + 2 * (4 + 4))  # steps, units, gates; inputs and state a layer
    assert costs.multiply_adds(net, x) == count
    assert costs.multiply_adds(net, x.expand(3, -1, -1)) == 3 * count
    both_ways = torch.nn.LSTM(5, 4, 2, batch_first=True, bidirectional=True).eval()
    assert costs.multiply_adds(both_ways, x) == 2 * 6 * 4 * 4 * ((5 + 4) + (8 + 4))
    with torch.backends.mkldnn.flags(enabled=False):  # where torch takes it apart and counts it
        assert costs.multiply_adds(net, x) == count


KINDS = "lstm", "guided"


def machines(profile):
    """The student's net and one of its teacher's, each with the clip that it hears."""
    p = parameters.chosen("shallow_student", profile)
    specs = systems.systems(p)["ef_sw_em_cs"], systems.teacher(p)["teachers"][0]
    built = [nets.build(spec, 10).eval() for spec in specs]
    fronts = [features.FRONT_ENDS[spec["front_end"]] for spec in specs]
    clips = [torch.zeros(1, front.frames, front.mels) for front in fronts]
    return list(zip([built[0], built[1].student], clips, strict=True))


def test_the_papers_student_saves_work_and_not_weights_against_one_teacher():
    (student, x), (teacher, x_t) = machines("paper")
    h = 256
    lstm = 4 * h * (20 + h) + 2 * 4 * h * (h + h)
    assert nets.parameter_count(student) == lstm + 3 * 8 * h + 20 * (h + 1) == 1_342_484
    assert costs.multiply_adds(student, x) == 500 * (lstm + 20 * h)
    # 600 frames of 64 mel bins, then a quarter of the bins a layer; 160 filters of 5, 5 and 3
    convolved = 600 * (64 * 25 * 160 + 16 * 25 * 160**2 + 4 * 9 * 160**2)
    pooled = 600 * 160 * 10 * 2  # frame scores, and the clip's features by their weights
    assert costs.multiply_adds(teacher, x_t) == convolved + pooled
    assert round(nets.parameter_count(teacher) / nets.parameter_count(student), 2) == 0.65
    assert costs.multiply_adds(teacher, x_t[:, :500]) == (convolved + pooled) * 500 / 600


def test_the_teacher_is_larger_than_its_student_as_the_legend_says():
    for profile, share in (("laptop", 1 / 3), ("evidence", 1 / 3), ("paper", 1 / 4)):
        members = parameters.chosen("shallow_student", profile)["members"]
        fronts = (features.FRONT_ENDS[f"{kind}{'_40ms' * (profile != 'paper')}"] for kind in KINDS)
        nets_of = (net for net, _ in machines(profile))
        student, one = (costs.of_clip(*pair) for pair in zip(nets_of, fronts, strict=True))
        assert student["parameters"] / one["parameters"] / members == pytest.approx(share, abs=0.03)
        assert members * one["parameters"] >= 3 * student["parameters"]
        assert members * one["multiply_adds"] >= 10 * student["multiply_adds"]
    legend = systems.PUBLISHED["legend"]
    assert "a third of the whole teacher's parameters" in legend and "a quarter of them" in legend


def test_of_a_pair_the_student_counts():
    pair = nets.build({"net": {"name": "joint.nets:guided_pair", "frames": 250, "mels": 32}}, 10)
    found = costs.of_clip(pair.eval(), features.FRONT_ENDS["guided_40ms"])
    assert found["parameters"] == nets.parameter_count(pair.student)
    assert found == costs.of_clip(pair.student, features.FRONT_ENDS["guided_40ms"])


def test_latency_is_a_median_with_one_thread():
    threads = []

    def call():
        threads.append(torch.get_num_threads())
        time.sleep(0.002)

    assert 0.002 <= costs.latency(call, seconds=0.02) < 1  # seconds, not milliseconds
    assert set(threads) == {1} and len(threads) > 3
