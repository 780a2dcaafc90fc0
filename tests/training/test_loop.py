"""The training loop: it does what a plain loop does, resumes to the same bits, and leaves global randomness alone."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from cutaway.data import Dataset
from cutaway.errors import InputError, WorkError
from cutaway.training.batches import smallest_batch, step_batches
from cutaway.training.loop import State, Term, TrainingSettings, train
from cutaway.training.rates import learning_rate
from cutaway.training.scores import score_model


def blobs(n=60, seed=0, name="blobs"):
    """Three Gaussian classes in five dimensions."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    inputs = torch.randn(n, 5, generator=generator) + 2 * torch.eye(5)[labels]
    return Dataset(name=name, inputs=inputs, labels=labels)


def small(seed=0, extra=()):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(5, 16), *extra, nn.ReLU(), nn.Linear(16, 3))


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.state_dict().values()])


class Recorder:
    """Stands in for a tracker: keeps what it is told."""

    def __init__(self):
        self.calls = []

    def step(self, model, step, **scalars):
        self.calls.append((step, scalars))


def test_matches_a_plain_loop():
    """Oracle: torch's own loop with the unfused optimiser on the order that the tracker was told."""
    data, settings = blobs(), TrainingSettings(steps=40, batch_size=16, learning_rate=0.01, dtype="float64", loss="mse")
    recorder, model = Recorder(), small()
    trained = train(model, data, settings, tracker=recorder)
    plain = small().double()
    optimiser = torch.optim.AdamW(plain.parameters(), lr=0.01, weight_decay=0.01)
    targets = nn.functional.one_hot(data.labels).double()
    losses = []
    for step, scalars in recorder.calls:
        if step == 0:
            continue
        rows = scalars["examples"]
        loss = nn.functional.mse_loss(plain(data.inputs.double()[rows]), targets[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    np.testing.assert_allclose(trained.losses, losses, rtol=1e-9)
    torch.testing.assert_close(weights(model), weights(plain), rtol=1e-9, atol=1e-12)
    assert [s for s, _ in recorder.calls] == list(range(41))


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("schedule", ["cosine", "one-cycle"])
def test_cut_and_resumed_ends_with_the_same_bits(name, schedule, tmp_path):
    data = blobs()
    settings = TrainingSettings(steps=30, batch_size=16, optimiser=name, schedule=schedule, warmup=5, clip=1.0, seed=3)

    def noisy_model(seed=0):
        return small(seed, extra=(nn.BatchNorm1d(16), nn.Dropout(0.3)))

    noise = Term(weight=0.1, needs=("generator",), function=_noisy)
    whole = noisy_model()
    train(whole, data, settings, terms=[noise])

    def keep(step, take):
        if step == 11:
            state = take()
            torch.save([state.model, state.optimiser], tmp_path / "state.pt")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(noisy_model(), data, settings, terms=[noise], keep=keep)
    model, optimiser = torch.load(tmp_path / "state.pt", weights_only=True)
    again = noisy_model(99)
    train(again, data, settings, terms=[noise], start=State(step=11, model=model, optimiser=optimiser))
    assert torch.equal(weights(whole), weights(again))


def _noisy(model, inputs, labels, *, generator):
    return model(inputs + 0.1 * torch.randn(inputs.shape, generator=generator)).square().mean()


def test_global_randomness_is_neither_used_nor_moved():
    data, settings, found = blobs(), TrainingSettings(steps=12, batch_size=16), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        model = small(extra=(nn.Dropout(0.5),))
        train(model, data, settings)
        assert torch.equal(before, torch.get_rng_state())
        found.append(weights(model))
    assert torch.equal(*found)
    other = small(extra=(nn.Dropout(0.5),))
    train(other, data, TrainingSettings(steps=12, batch_size=16, seed=1))
    assert not torch.equal(found[0], weights(other))


def test_every_epoch_is_a_permutation_and_repeats_keep_the_batch():
    settings = TrainingSettings(steps=8, batch_size=16)
    rows = dict(step_batches(60, settings))
    assert [len(rows[s]) for s in range(8)] == [16, 16, 16, 12] * 2
    for epoch in (0, 4):
        assert sorted(torch.cat([rows[s] for s in range(epoch, epoch + 4)]).tolist()) == list(range(60))
    assert rows[0].tolist() != rows[4].tolist()
    assert all(torch.equal(a, rows[s]) for s, a in step_batches(60, settings, first=5))
    twice = dict(step_batches(60, settings, repeats=2))
    assert [torch.equal(twice[s], rows[s // 2]) for s in range(8)] == [True] * 8


def test_a_last_row_joins_the_batch_before_it_only_where_batch_norm_needs_two():
    settings = TrainingSettings(steps=8, batch_size=16)
    joined = dict(step_batches(49, settings, least=2))
    assert [len(joined[s]) for s in range(8)] == [16, 16, 17, 16, 16, 17, 16, 16]
    assert sorted(torch.cat([joined[s] for s in range(3)]).tolist()) == list(range(49))
    assert [len(rows) for _, rows in step_batches(49, settings)] == [16, 16, 16, 1] * 2
    dense = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    assert train(dense, blobs(49), settings).losses.shape == (8,)
    picture = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten())
    before = picture[1].running_mean.clone()
    assert smallest_batch(picture, torch.rand(1, 1, 6, 6), settings, 49) == 1
    assert smallest_batch(dense, torch.rand(1, 5), settings, 49) == 2
    assert smallest_batch(dense, torch.rand(1, 5), settings, 50) == 1
    assert torch.equal(picture[1].running_mean, before)
    with pytest.raises(InputError, match="batch of the training; found 1 row .49 in the data. under batch norm"):
        train(dense, blobs(49), TrainingSettings(steps=8, batch_size=1))


def test_the_adversary_replaces_the_batch_and_is_told_before_each_update():
    class Shift:
        repeats, updates, seen = 3, 0, None

        def __call__(self, model, inputs, labels, generator):
            self.seen = generator.initial_seed()
            return inputs + 1

        def update(self, model):
            assert all(p.grad is not None for p in model.parameters())
            self.updates += 1

    data, adversary, plain = blobs(), Shift(), small()
    settings = TrainingSettings(steps=6, batch_size=60, dtype="float64")
    model = small()
    train(model, data, settings, adversary=adversary)
    assert adversary.updates == 6
    assert adversary.seen is not None
    shifted = Dataset(name="s", inputs=data.inputs.double() + 1, labels=data.labels)
    train(plain, shifted, settings)
    torch.testing.assert_close(weights(model), weights(plain), rtol=1e-9, atol=1e-12)


def test_terms_are_added_with_their_weight_of_the_step():
    data, recorder = blobs(), Recorder()
    size = Term(weight=lambda step: 0.5 * step, function=lambda m, x, y: m[0].weight.square().sum(), name="size")
    stepped = Term(weight=0.0, function=lambda m, x, y, step: torch.tensor(float(step)), name="when", needs=("step",))
    train(small(), data, TrainingSettings(steps=5, batch_size=60), tracker=recorder, terms=[size, stepped])
    for step, scalars in recorder.calls[1:]:
        wanted = scalars["task_loss"] + 0.5 * (step - 1) * scalars["size"]
        assert scalars["loss"] == pytest.approx(wanted, rel=1e-5)
        assert scalars["when"] == step - 1


def test_a_loss_that_is_not_finite_stops_or_is_marked():
    data, model = blobs(), small()
    with torch.no_grad():
        model[0].weight[0, 0] = math.inf
    with pytest.raises(WorkError, match=r"training at step 1; found a loss of (nan|inf).*Lower the learning rate"):
        train(model, data, TrainingSettings(steps=3))
    trained = train(model, data, TrainingSettings(steps=3, on_nan="mark"))
    assert trained.not_finite == (1, 2, 3)


def test_it_learns_and_scores_with_an_exact_interval():
    from scipy.stats import binomtest

    data, test = blobs(300), blobs(200, seed=1)
    trained = train(
        small(), data, TrainingSettings(steps=200, batch_size=50, learning_rate=0.01, schedule="cosine"), test=test
    )
    score = trained.score
    assert score.accuracy > 0.8
    assert trained.losses[-20:].mean() < 0.5 * trained.losses[:5].mean()
    interval = binomtest(round(score.accuracy * 200), 200).proportion_ci(0.95, method="exact")
    assert (score.low, score.high) == pytest.approx((interval.low, interval.high))
    assert not trained.model.training


def test_scores_leave_the_mode_and_use_running_statistics():
    model = small(extra=(nn.BatchNorm1d(16),)).train()
    alone = score_model(model, blobs(), batch_size=7)
    assert model.training and model[1].training
    assert alone.loss == pytest.approx(score_model(model, blobs(), batch_size=60).loss, rel=1e-5)


@pytest.mark.parametrize(
    ("schedule", "marks"),
    [
        ("constant", {0: 1.0, 50: 1.0, 99: 1.0}),
        ("cosine", {0: 1.0, 50: 0.5, 100: 0.0}),
        ("step", {49: 1.0, 50: 0.1, 75: 0.01}),
        ("one-cycle", {0: 0.04, 30: 1.0, 100: 1 / 250_000}),
    ],
)
def test_learning_rates(schedule, marks):
    for step, wanted in marks.items():
        assert learning_rate(step, steps=100, peak=1.0, schedule=schedule) == pytest.approx(wanted, abs=1e-9)
    assert learning_rate(4, steps=100, peak=1.0, warmup=10) == pytest.approx(0.5)


def test_rates_agree_with_torch_schedulers():
    """Oracle: torch's OneCycleLR and CosineAnnealingLR."""
    for schedule, kind, more in (
        (
            "one-cycle",
            torch.optim.lr_scheduler.OneCycleLR,
            {"max_lr": 0.1, "total_steps": 101, "cycle_momentum": False},
        ),
        ("cosine", torch.optim.lr_scheduler.CosineAnnealingLR, {"T_max": 100}),
    ):
        optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        scheduler = kind(optimiser, **more)
        for step in range(100):
            wanted = optimiser.param_groups[0]["lr"]
            ours = learning_rate(step, steps=100, peak=0.1, schedule=schedule)
            assert ours == pytest.approx(wanted, abs=0.004), (schedule, step)
            optimiser.step()
            scheduler.step()


def test_bad_input():
    with pytest.raises(InputError, match=r"optimiser of the training; found 'lion'; expected adamw, adam, sgd"):
        TrainingSettings(steps=1, optimiser="lion")
    with pytest.raises(InputError, match="steps of the training; found 0"):
        TrainingSettings(steps=0)
    with pytest.raises(InputError, match="learning_rate of the training; found nan"):
        TrainingSettings(steps=1, learning_rate=math.nan)
    bare = Dataset(name="bare", inputs=torch.zeros(4, 5))
    with pytest.raises(InputError, match="'bare'; found no labels; expected labels to train with cross-entropy"):
        train(small(), bare, TrainingSettings(steps=1))
    frozen = small().requires_grad_(False)
    with pytest.raises(InputError, match="no parameter to train"):
        train(frozen, blobs(), TrainingSettings(steps=1))
    with pytest.raises(InputError, match="inputs that are not tokens"):
        train(small(), blobs(), TrainingSettings(steps=1, loss="next-token"))
