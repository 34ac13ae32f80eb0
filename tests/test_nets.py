"""SeCoST's networks against table 1, the facts of their shapes, and naive formulas."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from wsaed.features import FRONT_ENDS
from wsaed.nets import embedding_attention, pooling, talnet, wels_net
from wsaed.nets.layers import FLOOR, parameter_count
from wsaed.papers import secost_table_1

NARROW = {"width": 0.125}
SPECS = [
    {"name": "wels_net"},
    {"name": "wels_net", "pool": "average"},
    {"name": "talnet", "pooling": "linear"},
    {"name": "talnet", "pooling": "attention"},
    {"name": "embedding_attention", "kind": "pooling"},
    {"name": "embedding_attention", "kind": "attention"},
    {"name": "embedding_attention", "kind": "attention", "level": "feature"},
    {"name": "embedding_attention", "kind": "attention_large"},
]
MODULES = {m.__name__.split(".")[-1]: m for m in (wels_net, talnet, embedding_attention)}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def narrow(spec, classes=7):
    net = MODULES[spec["name"]].build(spec | NARROW, classes)
    if hasattr(net, "fit_stand_in"):
        net.fit_stand_in(torch.randn(20, 200, 64))
    return net


@pytest.fixture(scope="module")
def full():
    return wels_net.build({"name": "wels_net", "width": 1.0, "pool": "max"}, 527)


def test_paper_size_has_the_published_number_of_parameters(full):
    assert parameter_count(full) == secost_table_1.PARAMETERS == 14_677_711


def test_live_table_equals_the_printed_one_except_the_last_activation(full):
    full.train()
    before = copy.deepcopy(full.state_dict())
    live = wels_net.layer_table(full, 1024)
    differing = [(a, b) for a, b in zip(live, secost_table_1.printed(527), strict=True) if a != b]
    assert [(a[0], a[2] == b[2]) for a, b in differing] == [("L4", True)]
    assert differing[0][0][1] == "1×1 conv, F: 527, P: 0, S: 1 → sigmoid"
    # looking must not touch: running statistics, mode, hooks
    assert all(torch.equal(v, before[k]) for k, v in full.state_dict().items())
    assert full.training and not any(m._forward_hooks for m in full.modules())


def test_layer_table_shows_a_changed_network():
    net = narrow(SPECS[0])
    net.B2[2] = torch.nn.MaxPool2d((1, 2))
    changed = wels_net.layer_table(net, 1024)
    assert [row[2] for row in changed if row[0] == "L4"] == ["7×62×1"]


def test_width_scales_filters_but_leaves_eight():
    rows = wels_net.layer_table(narrow(SPECS[0]), 256)
    filters = [int(r[2].split("×")[0]) for r in rows if "conv" in r[1]]
    assert filters == [8, 8, 16, 16, 32, 32, 64, 64, 256, 128, 128, 7]
    tiny = wels_net.layer_table(wels_net.build({"name": "wels_net", "width": 0.001}, 7), 256)
    assert {int(r[2].split("×")[0]) for r in tiny[1:-2]} == {8}


@pytest.mark.parametrize(
    "frames, K",
    dict.items({1: 1, 95: 1, 96: 1, 127: 1, 128: 2, 250: 5, 998: 29, 1000: 29, 1023: 29, 1024: 30}),
)
def test_segments_for_any_length(frames, K):
    segments, clip = narrow(SPECS[0])(torch.randn(2, frames, 64))
    assert segments.shape == (2, K, 7) and clip.shape == (2, 7)
    torch.testing.assert_close(clip, segments.mean(1))


def test_short_input_equals_silence_at_the_end():
    net = narrow(SPECS[0]).eval()
    net.set_statistics(torch.randn(64), torch.rand(64) + 0.5)
    x = torch.randn(2, 40, 64)
    silent = F.pad(x, (0, 0, 0, 56), value=FLOOR)
    assert torch.equal(net(x)[0], net(silent)[0])
    assert not torch.equal(net(x)[0], net(F.pad(x, (0, 0, 0, 56)))[0])
    assert np.exp(FLOOR) == pytest.approx(FRONT_ENDS["secost"].floor)


@pytest.mark.parametrize("pool", ["average", "max"])
def test_receptive_field_by_perturbing_frames(pool):
    net = narrow({"name": "wels_net", "pool": pool}).eval().double()
    k, frames = 2, 256
    # densely where the field should begin and end, now and then between
    tried = torch.tensor([*range(14), *range(14, 208, 12), *range(208, 232), 255])
    x = torch.randn(1, frames, 64, dtype=torch.double)
    perturbed = x.repeat(len(tried), 1, 1)
    noise = torch.randn(len(tried), 64, dtype=torch.double)
    perturbed[torch.arange(len(tried)), tried] += 100 * noise
    with torch.inference_mode():
        before = net(x)[0][0, k]
        after = torch.cat([net(piece)[0][:, k] for piece in perturbed.split(32)])
    reached = tried[(after != before).any(1)]
    first, last = reached[0].item(), reached[-1].item()
    assert last - first + 1 == net.receptive_field == 212
    assert reached.tolist() == [f for f in tried.tolist() if first <= f <= last]
    centre = net.segment_times(k + 1, FRONT_ENDS["secost"])[k]
    assert (first + last) / 2 / 100 == pytest.approx(float(centre))


def test_segment_times_and_rate_at_both_hops():
    net = narrow(SPECS[0])
    secost, coarse = FRONT_ENDS["secost"], FRONT_ENDS["secost_50ms"]
    times = net.segment_times(29, secost)
    torch.testing.assert_close(times.diff(), torch.full((28,), 0.32))
    assert float(times[0]) == pytest.approx(0.475)
    assert net.frames_per_second(secost) == pytest.approx(1 / 0.32)
    assert net.frames_per_second(coarse) == pytest.approx(1 / 1.6)


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: "-".join(s.values()))
def test_every_net_learns_and_gives_probabilities(spec):
    net = narrow(spec)
    x, y = torch.randn(8, 200, 64), (torch.rand(8, 7) < 0.3).float()
    adam = torch.optim.Adam(net.parameters(), 1e-2)
    losses = []
    for _ in range(8):
        steps, clip = net(x)
        assert steps.shape[0] == 8 and steps.shape[2] == 7 and clip.shape == (8, 7)
        assert all(p.min() >= 0 and p.max() <= 1 for p in (steps, clip))
        loss = F.binary_cross_entropy(clip, y)
        adam.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
        adam.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    # a fresh net of the same spec takes the weights: buffers have fixed shapes
    fresh = MODULES[spec["name"]].build(spec | NARROW, 7)
    fresh.load_state_dict(net.state_dict())
    net.eval(), fresh.eval()
    assert torch.equal(net(x)[1], fresh(x)[1])


def test_saturated_probabilities_keep_the_loss_and_gradients_finite():
    net = narrow(SPECS[0])
    with torch.no_grad():
        net.L4[0].bias.fill_(-1000)
    p = net(torch.randn(2, 128, 64))[1]
    loss = F.binary_cross_entropy(p, torch.ones_like(p))
    loss.backward()
    assert (p == 0).all() and loss.item() == 100
    assert all(q.grad.isfinite().all() for q in net.parameters())


@pytest.mark.parametrize("spec", [SPECS[0], SPECS[3], SPECS[5]], ids=lambda s: s["name"])
def test_probabilities_are_float32_under_autocast(spec):
    net = narrow(spec)
    with torch.autocast("cpu", torch.bfloat16):
        steps, clip = net(torch.randn(4, 200, 64))
    assert steps.dtype == clip.dtype == torch.float32 and clip.isfinite().all()


@pytest.mark.parametrize("name", ["wels_net", "talnet"])
def test_statistics_standardise_every_bin_and_are_no_parameters(name):
    net = narrow({"name": name})
    before = parameter_count(net)
    x = 3 * torch.randn(4, 200, 64) + torch.linspace(-20, 0, 64)
    x[:, :, 5] = FLOOR  # a bin where nothing ever sounds
    net.set_statistics(x.mean((0, 1)), x.std((0, 1)))
    image = net.image(x)[:, 0]
    torch.testing.assert_close(image.mean((0, 1)), torch.zeros(64), atol=1e-3, rtol=0)
    others = torch.arange(64) != 5
    torch.testing.assert_close(image.std((0, 1))[others], torch.ones(63), atol=1e-3, rtol=0)
    assert image.isfinite().all() and parameter_count(net) == before
    assert {"mean", "std"} <= set(net.state_dict())
    with pytest.raises(ValueError, match="64"):
        net.set_statistics(torch.zeros(32), torch.ones(32))
    with pytest.raises(ValueError, match="finite"):
        net.set_statistics(torch.full((64,), torch.nan), torch.ones(64))


@pytest.mark.parametrize("frames, steps", [(400, 100), (250, 62), (1000, 250), (2, 1)])
@pytest.mark.parametrize("rule", ["linear", "attention"])
def test_talnet_halves_time_twice(frames, steps, rule):
    net = narrow({"name": "talnet", "pooling": rule})
    p, clip = net(torch.randn(2, frames, 64))
    assert p.shape == (2, steps, 7) and clip.shape == (2, 7)
    assert net.frames_per_second(FRONT_ENDS["secost"]) == 25
    if rule == "linear":
        torch.testing.assert_close(clip, (p**2).sum(1) / p.sum(1))


def test_talnet_at_the_published_size():
    net = talnet.build({"name": "talnet", "pooling": "linear"}, 527)
    filters = [m.out_channels for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    assert filters == [32, 32, 64, 64, 128, 128, 256, 256, 512, 512]
    assert (net.gru.input_size, net.gru.hidden_size, net.gru.bidirectional) == (1024, 512, True)


@pytest.mark.parametrize("kind, hidden", [("pooling", 1024), ("attention_large", 2048)])
def test_embedding_networks_at_the_published_size(kind, hidden):
    net = embedding_attention.build({"name": "embedding_attention", "kind": kind}, 527)
    convs = [m for m in net.modules() if isinstance(m, torch.nn.Conv1d)]
    assert [(c.in_channels, c.out_channels) for c in convs] == [(128, hidden)] + 2 * [(hidden,) * 2]
    steps, clip = net(torch.randn(2, 10, 128))  # embeddings given: nothing to fit
    assert steps.shape == (2, 10, 527) and clip.shape == (2, 527)


def test_pooling_rules_against_loops():
    p, a = torch.rand(3, 6, 4), torch.rand(3, 6, 4) + 0.1
    for b in range(3):
        for c in range(4):
            q, w = p[b, :, c], a[b, :, c]
            expected = {
                "average": sum(q) / 6,
                "maximum": max(q),
                "linear_softmax": sum(v * v for v in q) / sum(q),
                "attention": sum(v * u for v, u in zip(q, w, strict=True)) / sum(w),
            }
            for name, value in expected.items():
                arguments = (p, a) if name == "attention" else (p,)
                torch.testing.assert_close(getattr(pooling, name)(*arguments)[b, c], value)
    assert torch.equal(pooling.linear_softmax(torch.zeros(1, 5, 2)), torch.zeros(1, 2))
    once = torch.zeros(1, 10, 1)
    once[0, 3] = 0.9
    rules = [pooling.average, pooling.linear_softmax, pooling.maximum]
    assert [round(f(once).item(), 2) for f in rules] == [0.09, 0.9, 0.9]


def test_decision_attention_is_a_weighted_mean_of_its_steps():
    net = narrow({"name": "embedding_attention", "kind": "attention"}).eval()
    p, clip = net(torch.randn(3, 200, 64))
    assert (clip <= p.amax(1) + 1e-6).all() and (clip >= p.amin(1) - 1e-6).all()
    net.att.weight.data.zero_()  # equal scores: the mean
    p, clip = net(torch.randn(3, 200, 64))
    torch.testing.assert_close(clip, p.mean(1))


def test_feature_level_on_equal_steps_classifies_each_as_the_clip():
    net = narrow({"name": "embedding_attention", "kind": "attention_large"})
    net(torch.randn(16, 200, 64))  # running statistics other than the initial ones
    net.eval()
    steps, clip = net(torch.randn(2, 1, 128).expand(2, 10, 128))
    torch.testing.assert_close(steps, clip[:, None].expand_as(steps))


def test_stand_in_whitens_training_patches():
    net = embedding_attention.build({"name": "embedding_attention", "kind": "pooling"}, 7)
    x = torch.randn(300, 200, 64).cumsum(2) - 5
    net.fit_stand_in(x)
    z = net.embed(x).flatten(0, 1)
    torch.testing.assert_close(z.mean(0), torch.zeros(128), atol=2e-2, rtol=0)
    torch.testing.assert_close(z.T.cov(), torch.eye(128), atol=2e-2, rtol=0)
    assert not any(p is net.components for p in net.parameters())
    # the first patch sees the first second only
    y = x[:1].clone()
    y[:, 25:] = 0
    change = (net.embed(y) - net.embed(x[:1])).abs().amax(2)[0]
    assert change[0] == 0 and (change[1:] > 0).all()


@pytest.mark.parametrize("frames", [100, 250, 400, 1000])
def test_stand_in_takes_any_hop_and_few_clips(frames):
    net = embedding_attention.build({"name": "embedding_attention", "kind": "pooling"}, 7)
    net.fit_stand_in(torch.randn(3, frames, 64))
    z = net.embed(torch.randn(2, frames, 64))
    assert z.shape == (2, 10, 128) and z.isfinite().all()
    assert (z[..., 29:] == 0).all()  # 30 patches span 29 directions


@pytest.mark.parametrize(
    "call, reason",
    [
        (lambda: wels_net.build({"name": "wels_net", "widht": 1.0}, 7), "widht"),
        (lambda: wels_net.build({"name": "wels_net", "pool": "sum"}, 7), "average"),
        (lambda: wels_net.build({"name": "wels_net", "width": 0}, 7), "positive"),
        (lambda: talnet.build({"name": "talnet"}, 0), "positive"),
        (lambda: narrow(SPECS[0])(torch.randn(2, 100, 40)), "64"),
        (lambda: narrow(SPECS[2])(torch.randn(2, 0, 64)), "64"),
        (lambda: narrow(SPECS[4])(torch.randn(2, 10, 100)), "64"),
        (
            lambda: embedding_attention.build({"name": "e", "kind": "attention"}, 7)(
                torch.randn(2, 200, 64)
            ),
            "fit_stand_in",
        ),
        (lambda: narrow(SPECS[4]).fit_stand_in(torch.full((4, 200, 64), torch.nan)), "finite"),
    ],
)
def test_bad_input_gets_one_line(call, reason):
    with pytest.raises(ValueError, match=reason) as error:
        call()
    assert "\n" not in str(error.value)
