"""SeCoST's networks: table 1, what a segment hears, the rivals' shapes, naive formulas."""

import matplotlib.pyplot as plt
import pytest
import torch
from conftest import refused

from wsaed import features, nets, plots
from wsaed.secost import rivals, systems
from wsaed.secost.net import WelsNet, layer_table

PRINTED = systems.PUBLISHED["table_1"]


def fitted(**settings):
    net = rivals.EmbeddingAttention(7, width=0.125, **settings)
    net.fit_stand_in(torch.randn(20, 200, 64))
    return net


def test_table_1_from_the_live_net_equals_the_print_except_the_last_activation():
    net = WelsNet(PRINTED["classes"])
    assert nets.parameter_count(net) == PRINTED["parameters"] == 14_677_711
    before = {k: v.clone() for k, v in net.state_dict().items()}
    live = layer_table(net, PRINTED["frames"])
    printed = [tuple(c.replace("|C|", "527") for c in row) for row in PRINTED["rows"]]
    differing = [(a, b) for a, b in zip(live, printed, strict=True) if a != b]
    assert [(a[0], a[2] == b[2]) for a, b in differing] == [("L4", True)]
    assert differing[0][0][1] == "1×1 conv, F: 527, P: 0, S: 1 → sigmoid"
    # looking must not touch: running statistics, mode, hooks
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert net.training and not any(m._forward_hooks for m in net.modules())
    net.B2[2] = torch.nn.MaxPool2d((1, 2))  # and a changed network shows
    assert [row[2] for row in layer_table(net, 1024) if row[0] == "L4"] == ["527×62×1"]


def test_a_drawn_network_shows_the_sizes_and_parameters_of_the_live_one():
    net, x = WelsNet(7, 0.125), torch.zeros(1, 256, 64)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    _, ax = plt.subplots()
    plots.architecture(ax, net, x)
    drawn = {t.get_text().split("\n")[0]: t.get_text().split("\n")[1:] for t in ax.texts}
    wanted = {row[0]: row[2] for row in layer_table(net, 256)}  # a block's last row is its pool
    drawn.pop(""), wanted.pop("P")  # arrows; a mean, which is no module
    assert drawn.pop("log-mel") == [wanted.pop("Input")]
    assert {name: said[0] for name, said in drawn.items()} == wanted
    count = sum(int(said[1].replace(",", "")) for said in drawn.values())
    assert count == nets.parameter_count(net)
    ax.clear()
    plots.architecture(ax, net, x, {"B": [*net.B1, net.B2]}, {"away": torch.nn.Linear(3, 2)})
    count = nets.parameter_count(net.B1) + nets.parameter_count(net.B2)
    assert {t.get_text() for t in ax.texts} >= {f"B\n{wanted['B2']}\n{count:,}", "away\n8"}
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert net.training and not any(m._forward_hooks for m in net.modules())


def test_width_scales_filters_but_leaves_eight():
    wanted = {0.125: [8, 8, 16, 16, 32, 32, 64, 64, 256, 128, 128], 0.001: [8] * 11}
    for width, expected in wanted.items():
        rows = layer_table(WelsNet(7, width), 256)
        filters = [int(row[2].split("×")[0]) for row in rows if "conv" in row[1]]
        assert filters == [*expected, 7]


@pytest.mark.parametrize(("pool", "first"), [("average", 4), ("max", 4), ("max", 2), ("max", 1)])
def test_receptive_field_by_perturbing_frames(pool, first):
    net = WelsNet(7, 0.125, pool=pool, first_pool=first).eval().double()
    k, frames = 2, 256
    # densely where the field should begin and end, now and then between
    tried = torch.tensor([*range(40), *range(40, 208, 12), *range(208, 232), 255])
    if first < 4:
        tried = torch.arange(144)
    x = torch.randn(1, frames, 64, dtype=torch.double)
    perturbed = x.repeat(len(tried), 1, 1)
    noise = torch.randn(len(tried), 64, dtype=torch.double)
    perturbed[torch.arange(len(tried)), tried] += 100 * noise
    with torch.inference_mode():
        before = net(x)[0][0, k]
        after = torch.cat([net(piece)[0][:, k] for piece in perturbed.split(32)])
    reached = tried[(after != before).any(1)]
    begin, last = reached[0].item(), reached[-1].item()
    assert last - begin + 1 == net.receptive_field == {4: 212, 2: 108, 1: 56}[first]
    assert reached.tolist() == [f for f in tried.tolist() if begin <= f <= last]
    centre = net.segment_times(k + 1, features.FRONT_ENDS["secost"])[k]
    assert (begin + last) / 2 / 100 == pytest.approx(float(centre))


def test_a_clip_is_the_mean_of_its_segments_and_their_times_are_centres():
    net = WelsNet(7, 0.125)
    segments, clip = net(torch.randn(2, 250, 64))
    torch.testing.assert_close(clip, segments.mean(1))
    times = net.segment_times(29, features.FRONT_ENDS["secost"])
    torch.testing.assert_close(times.diff(), torch.full((28,), 0.32))
    assert float(times[0]) == pytest.approx(0.475)
    assert net.frames_per_second(features.FRONT_ENDS["secost"]) == pytest.approx(1 / 0.32)
    assert net.frames_per_second(features.FRONT_ENDS["secost_40ms"]) == pytest.approx(1 / 1.28)


def test_saturated_probabilities_keep_the_loss_and_gradients_finite():
    net = WelsNet(7, 0.125)
    with torch.no_grad():
        net.L4[0].bias.fill_(-1000)
    p = net(torch.randn(2, 128, 64))[1]
    loss = torch.nn.functional.binary_cross_entropy(p, torch.ones_like(p))
    loss.backward()
    assert (p == 0).all() and loss.item() == 100
    assert all(q.grad.isfinite().all() for q in net.parameters())


def test_talnet_at_the_published_size_and_its_two_poolings():
    net = rivals.TalNet(527)
    filters = [m.out_channels for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    assert filters == [32, 32, 64, 64, 128, 128, 256, 256, 512, 512]
    assert (net.gru.input_size, net.gru.hidden_size, net.gru.bidirectional) == (1024, 512, True)
    p, clip = rivals.TalNet(7, 0.125)(torch.randn(2, 100, 64))
    torch.testing.assert_close(clip, (p**2).sum(1) / p.sum(1))


@pytest.mark.parametrize("hidden", [1024, 2048])
def test_embedding_networks_at_the_published_size(hidden):
    net = rivals.EmbeddingAttention(527, hidden=hidden)
    convs = [m for m in net.modules() if isinstance(m, torch.nn.Conv1d)]
    assert [(c.in_channels, c.out_channels) for c in convs] == [(128, hidden)] + 2 * [(hidden,) * 2]
    steps, clip = net(torch.randn(2, 10, 128))  # embeddings given: nothing to fit
    assert steps.shape == (2, 10, 527) and clip.shape == (2, 527)


def test_embedding_networks_pool_features_and_classify_a_step_as_a_clip():
    net, plain = fitted(), fitted(pooling="average")
    x = torch.randn(16, 200, 64)
    net(x)  # running statistics other than the initial ones
    net.eval()
    steps, clip = net(torch.randn(2, 1, 128).expand(2, 10, 128))
    torch.testing.assert_close(steps, clip[:, None].expand_as(steps))
    net.att.weight.data.zero_()  # equal scores: the mean
    plain.load_state_dict(net.state_dict(), strict=False)
    torch.testing.assert_close(net(x)[1], plain.eval()(x)[1])


def test_stand_in_whitens_training_patches():
    net = rivals.EmbeddingAttention(7)
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
    net = rivals.EmbeddingAttention(7)
    net.fit_stand_in(torch.randn(3, frames, 64))
    z = net.embed(torch.randn(2, frames, 64))
    assert z.shape == (2, 10, 128) and z.isfinite().all()
    assert (z[..., 29:] == 0).all()  # 30 patches span 29 directions


def test_without_a_stand_in_or_with_a_broken_one_there_is_one_line():
    net = rivals.EmbeddingAttention(7)
    with refused("call fit_stand_in"):
        net(torch.randn(2, 200, 64))
    with refused("finite"):
        net.fit_stand_in(torch.full((4, 200, 64), torch.nan))


def test_pooling_rules_against_loops():
    p, a = torch.rand(3, 6, 4), torch.rand(3, 6, 4) + 0.1
    rules = {
        "average": lambda q, w: sum(q) / 6,
        "maximum": lambda q, w: max(q),
        "linear_softmax": lambda q, w: sum(v * v for v in q) / sum(q),
        "attention": lambda q, w: sum(v * u for v, u in zip(q, w, strict=True)) / sum(w),
    }
    for name, rule in rules.items():
        found = getattr(nets, name)(*((p, a) if name == "attention" else (p,)))
        for b in range(3):
            for c in range(4):
                torch.testing.assert_close(found[b, c], rule(p[b, :, c], a[b, :, c]))
    assert torch.equal(nets.linear_softmax(torch.zeros(1, 5, 2)), torch.zeros(1, 2))
    once = torch.zeros(1, 10, 1)
    once[0, 3] = 0.9
    found = [f(once).item() for f in (nets.average, nets.linear_softmax, nets.maximum)]
    assert found == pytest.approx([0.09, 0.9, 0.9])
