"""Ensembles, draws and Laplace; the goal that hides an error; and the audit of who knows when it is attacked."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import nn

from cutaway.data import Dataset
from cutaway.errors import InputError
from cutaway.instruments.robustness.uncertainty_under_attack import UncertaintyUnderAttack
from cutaway.network import Network
from cutaway.outputs import Ensemble, laplace_ensemble, members_of
from cutaway.outputs.posterior import dropping
from cutaway.robustness import ConfidentError, JointError, detection_auroc, selective_accuracy, uncertainty
from cutaway.robustness.attacks import PGD
from cutaway.status import Status


def networks(count, seed=0, dropout=0.0):
    torch.manual_seed(seed)
    made = [nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 3)) for _ in range(count)]
    for model in made:
        model[3].weight.data *= 8
        model[3].bias.data -= model(torch.rand(200, 4)).mean(0).detach()
    return [model.eval() for model in made]


def rows(count=40):
    inputs = torch.rand(count, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        labels = Ensemble(networks(3)).eval()(inputs).argmax(1)
    return Dataset(name="rows", inputs=inputs, labels=labels, num_classes=3, value_range=(0.0, 1.0))


def test_an_ensemble_answers_by_the_mean_of_probabilities_not_of_logits():
    members, data = networks(3), rows()
    with torch.no_grad():
        probabilities = torch.stack([m(data.inputs).softmax(1) for m in members]).mean(0)
        assert torch.allclose(Ensemble(members)(data.inputs).exp(), probabilities, atol=1e-6)
        logits = torch.stack([m(data.inputs) for m in members]).mean(0).softmax(1)
    assert not torch.allclose(logits, probabilities, atol=1e-4)
    network = Network(Ensemble(members).eval(), data.inputs[:2])
    before = network.forward_passes
    members_of(network)[1].forward(data.inputs[:5])
    assert network.forward_passes == before + 5
    assert members_of(Network(members[0], data.inputs[:2]))[0].model is members[0]


def test_one_member_is_no_ensemble():
    with pytest.raises(InputError, match="1 member"):
        Ensemble(networks(1))


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=4, max_size=30))
@settings(max_examples=40, deadline=None)
def test_detection_equals_the_area_of_another_library(pairs):
    values, attacked = np.array([p[0] for p in pairs], float), np.array([p[1] for p in pairs])
    found = detection_auroc(values[attacked], values[~attacked])
    if attacked.all() or not attacked.any():
        assert math.isnan(found)
    else:
        assert found == pytest.approx(roc_auc_score(attacked, values))


def test_selective_accuracy_keeps_the_rows_it_is_surest_of():
    correct, doubt = np.array([True, True, False, True, False]), np.array([0.1, 0.2, 0.9, 0.3, 0.8])
    assert selective_accuracy(correct, doubt, 0.6) == 1
    assert selective_accuracy(correct, doubt, 0.8) == pytest.approx(0.75)
    assert selective_accuracy(correct, doubt, 1.0) == pytest.approx(0.6)


def test_every_error_lies_above_every_right_answer_and_surer_errors_above_others():
    answers = torch.tensor([[[4.0, 0, 0], [0.2, 0, 0], [0, 0.2, 0], [0, 4.0, 0]]], dtype=torch.float64)
    labels = torch.zeros(4, dtype=torch.int64)
    value = ConfidentError().value(answers, labels)
    assert value[0] < value[1] < 0 < value[2] < value[3]
    exact = math.log(3) - uncertainty(answers)[3]
    assert float(value[3]) == pytest.approx(float(exact))
    two = torch.stack([answers[0], answers[0].roll(1, dims=1)])
    assert (ConfidentError(measure="mutual-information").value(two, labels) <= math.log(2) + 1e-12).all()


def test_the_aware_attack_breaks_as_many_rows_and_is_surer_of_them():
    data, members = rows(), [Network(m, rows().inputs[:2]) for m in networks(3)]
    attack = PGD(radius=0.3, steps=30)
    plain, aware = (attack.attack(members, data, goal=goal) for goal in (JointError(), ConfidentError()))
    assert plain.success.any()
    assert aware.success.sum() >= plain.success.sum() - 1

    def doubt(points):
        return uncertainty(torch.stack([m.forward(points).detach() for m in members]).double())

    both = plain.success & aware.success
    assert doubt(aware.inputs)[both].mean() < doubt(plain.inputs)[both].mean()


def test_laplace_draws_have_the_covariance_of_the_formula():
    """Of a last layer with few weights: the inverse of a Gauss-Newton matrix by torch's own Hessian of the loss, which
    is that matrix for a softmax that is linear in the weights."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).eval()
    inputs, labels = torch.rand(30, 4), torch.randint(0, 2, (30,))
    features = model[:2](inputs).detach().double()

    def loss(flat):
        weight, bias = flat[:6].reshape(2, 3), flat[6:]
        return nn.functional.cross_entropy(features @ weight.T + bias, labels, reduction="sum")

    at = torch.cat([model[2].weight.detach().flatten(), model[2].bias.detach()]).double()
    wanted = torch.linalg.inv(torch.autograd.functional.hessian(loss, at) + 2.0 * torch.eye(8))
    found = laplace_ensemble(model, inputs, prior_precision=2.0, members=4000, seed=1)
    drawn = torch.stack([torch.cat([m.drawn[0].flatten(), m.drawn[1]]) for m in found.members]).double()
    assert torch.allclose(drawn.mean(0), at, atol=0.04)
    assert torch.allclose(torch.cov(drawn.T), wanted, atol=0.1 * float(wanted.diagonal().max()))
    with pytest.raises(InputError, match="makes something else"):
        laplace_ensemble(nn.Sequential(model, nn.Softmax(dim=1)), inputs)


def test_networks_that_answer_once_are_unsupported_and_dropout_is_switched_back():
    data = rows()
    reading = UncertaintyUnderAttack().measure(networks(1)[0], data)
    assert reading.status == Status.UNSUPPORTED
    assert "dropout" in reading.reason
    model = networks(1, dropout=0.5)[0]
    first, again = (UncertaintyUnderAttack(num_points=20, steps=3, draws=4).measure(model, data) for _ in range(2))
    assert not model.training
    assert not any(m.training for m in model.modules())
    assert [f.value for f in first.figures] == [f.value for f in again.figures]
    with pytest.raises(InputError):
        UncertaintyUnderAttack(draws=0).measure(model, data)


def test_dropout_is_switched_on_alone_and_off_again_after_an_error():
    model = networks(1, dropout=0.5)[0]
    seen = []

    def asked_and_broken():
        with dropping(model):
            seen.extend(m.training for m in model)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        asked_and_broken()
    assert seen == [False, False, True, False]
    assert not any(m.training for m in model.modules())


def test_where_a_weaker_attack_breaks_more_the_attack_is_said_to_have_failed(monkeypatch):
    from cutaway.instruments.robustness import uncertainty_under_attack as module

    data, model = rows(100), Ensemble(networks(3)).eval()
    good = UncertaintyUnderAttack(radius=0.3, num_points=100).measure(model, data)
    assert good.figure("lead_over_weaker").high >= 0
    assert "failed" not in UncertaintyUnderAttack(radius=0.3).describe(good)
    real = PGD.attack

    def asleep(self, networks, data, **options):  # the joint search does nothing, the one on one member works
        found = real(self, networks, data, **options)
        import dataclasses

        return dataclasses.replace(found, inputs=data.inputs) if not isinstance(networks, Network) else found

    monkeypatch.setattr(module.PGD, "attack", asleep)
    bad = UncertaintyUnderAttack(radius=0.3, num_points=100).measure(model, data)
    assert "The attack failed" in UncertaintyUnderAttack(radius=0.3).describe(bad)


def test_members_of_other_classes_and_priors_that_are_none_are_named():
    with pytest.raises(InputError, match=r"outputs of shapes \(2,\), \(3,\)"):
        Ensemble([nn.Linear(4, 3), nn.Linear(4, 2)])(torch.rand(5, 4))
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="prior_precision"):
            laplace_ensemble(nn.Linear(4, 3), torch.rand(5, 4), prior_precision=wrong)
