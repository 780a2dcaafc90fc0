"""Recipes: what is in them is what trains; every mistake is told with file, key and the nearest right one."""

import numpy as np
import pytest
import torch

from cutaway.data import Dataset
from cutaway.errors import FileError, InputError
from cutaway.training import by_name
from cutaway.training.prepare import data_sets, prepare_training
from cutaway.training.recipe import checked_recipe, read_recipe
from cutaway.training.schedule import EveryN, LogSpaced, TimeBudget

WHOLE = """
name = "small"
seed = 4
[data]
name = "digits"
num = 60
test = 50
validation = 0.25
normalise = true
[model]
name = "mlp"
width = 8
activation = "gelu"
[training]
steps = 20
batch = 16
milestones = [0.3]
schedule = "step"
[[regularisers]]
name = "jacobian"
weight = 0.5
ramp = 10
num_directions = 2
[[regularisers]]
name = "local-complexity-density"
weight = 0.1
[adversary]
name = "pgd"
radius = 0.1
share = 0.5
[tracker]
schedule = "budget"
share = 0.1
points = 3
on = ["train", "validation", "random"]
num = 7
[[tracker.instruments]]
name = "robust-accuracy"
radius = 0.2
label = "far"
"""


def write(folder, text):
    path = folder / "r.toml"
    path.write_text(text)
    return path


def test_everything_in_a_recipe_arrives(tmp_path):
    text = WHOLE.replace("gelu", "relu")
    ready = prepare_training(read_recipe(write(tmp_path, text)))
    assert {name: len(data) for name, data in ready.sets.items()} == {"train": 45, "validation": 15, "test": 50}
    assert {name: len(data) for name, data in ready.watched.items()} == {"train": 7, "validation": 7, "random": 7}
    assert ready.watched["random"].labels is None
    assert (ready.settings.steps, ready.settings.batch_size, ready.settings.seed) == (20, 16, 4)
    assert ready.settings.milestones == (0.3,)
    jacobian, density = ready.terms
    assert [jacobian.weight(s) for s in (0, 5, 10, 20)] == [0.0, 0.25, 0.5, 0.5]
    assert jacobian.function.num_directions == 2
    assert (density.weight, density.needs) == (0.1, ("generator",))
    assert (ready.adversary.share, ready.adversary.adversary.radius) == (0.5, 0.1)
    assert (ready.adversary.adversary.low, ready.adversary.adversary.high) == (0.0, 1.0)
    assert ready.blueprint.options == {"width": 8, "activation": "relu"}


def test_validation_rows_are_left_out_of_training():
    plan = checked_recipe(
        {"data": {"name": "digits", "num": 100, "validation": 0.2}, "model": {"name": "mlp"}, "training": {"steps": 1}}
    )
    sets, _ = data_sets(plan)
    rows = {name: {tuple(r) for r in sets[name].inputs.flatten(1).tolist()} for name in ("train", "validation")}
    assert (len(rows["train"]), len(rows["validation"])) == (80, 20)
    assert not rows["train"] & rows["validation"]


def test_the_normalised_network_sees_standardised_training_rows(tmp_path):
    ready = prepare_training(read_recipe(write(tmp_path, WHOLE.replace("gelu", "relu"))))
    shown = ready.model[0](ready.sets["train"].inputs)
    assert float(shown.mean()) == pytest.approx(0, abs=1e-5)
    assert float(shown.std()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("steps = 20", "stpes = 20", r"key 'training.steps'; found nothing|key 'training.stpes'; found no such key"),
        ("batch = 16", "bacth = 16", r"r.toml, key 'training.bacth'; found no such key.*Did you mean 'batch'\?"),
        ("steps = 20", "steps = -1", r"key 'training.steps'; found -1; expected greater than or equal to 1"),
        ("steps = 20", 'steps = "20"', r"key 'training.steps'; found '20'; expected a valid integer"),
        ("steps = 20", "", r"key 'training.steps'; found nothing"),
        ("[data]", "[dtaa]", r"key '(dtaa|data)'"),
        ('schedule = "step"', 'schedule = "stpe"', r"key 'training.schedule'; found 'stpe'; expected 'constant', 'cosine'"),
        ('on = ["train", "validation", "random"]', 'on = ["trian"]', r"key 'tracker.on.0'; found 'trian'; expected 'train'"),
        ("width = 8", "widht = 8", r"option 'widht' of model 'mlp'.*Did you mean 'width'\?"),
        ('name = "mlp"', 'name = "mpl"', r"model 'mpl'; found no such model.*Did you mean 'mlp'\?"),
        ('name = "mlp"', 'name = "mlp"\nfactory = "a:b"', r"key 'model'.*one of name and factory"),
        ('name = "jacobian"', 'name = "jacobain"', r"regulariser 'jacobain'.*Did you mean 'jacobian'\?"),
        ("weight = 0.5", "weight = -0.5", r"key 'regularisers.0.weight'; found -0.5; expected greater than or equal to 0"),
        ("weight = 0.5", "weight = inf", r"key 'regularisers.0.weight'; found inf; expected a finite number"),
        ("num_directions = 2", "num_direction = 2", r"setting 'num_direction' of regulariser 'jacobian'.*Did you mean 'num_directions'\?"),
        ('name = "pgd"', 'name = "pdg"', r"adversary 'pdg'.*Did you mean 'pgd'\?"),
        ("radius = 0.1", "steps = 3", r"adversary 'pgd'; found no 'radius'; expected a value"),
        ("validation = 0.25", "", r"set 'validation' of the tracker; found no such set.*data.validation"),
        ("num = 60", "num = 60000", r"digits.*60000 rows; expected 1 to"),
        ('name = "digits"', 'name = "digit"', r"data set 'digit'.*Did you mean 'digits'\?"),
        ("steps = 20", 'steps = 20\nloss = "next-token"', r"loss 'next-token'; found data 'digits' that is no text"),
    ],
)  # fmt: skip
def test_mistakes_are_told(tmp_path, old, new, message):
    text = WHOLE.replace("gelu", "relu")
    assert old in text
    with pytest.raises(InputError, match=message):
        prepare_training(read_recipe(write(tmp_path, text.replace(old, new, 1))))


def test_files_that_are_no_recipes(tmp_path):
    write(tmp_path, WHOLE)
    with pytest.raises(FileError, match=r"found no such file.*Did you mean 'r.toml'\?"):
        read_recipe(tmp_path / "rr.toml")
    with pytest.raises(FileError, match=r"at line 1, column 8"):
        read_recipe(write(tmp_path, "name = = 3"))


def test_data_without_labels(tmp_path):
    np.save(tmp_path / "bare.npy", np.zeros((5, 3), dtype=np.float32))
    text = WHOLE.replace("gelu", "relu").replace('name = "digits"', f'name = "{tmp_path / "bare.npy"}"')
    with pytest.raises(InputError, match=r"bare.npy'; found no labels; expected labels to train on"):
        prepare_training(
            read_recipe(write(tmp_path, text.replace("num = 60\ntest = 50\nvalidation = 0.25\nnormalise = true", "")))
        )


def test_a_radius_in_other_units_is_warned_of(tmp_path):
    text = WHOLE.replace("gelu", "relu").replace("radius = 0.1", "radius = 8.0")
    with pytest.warns(UserWarning, match=r"radius of adversary 'pgd'; found 8 .*8/255"):
        prepare_training(read_recipe(write(tmp_path, text)))


def test_instruments_by_name():
    plan = checked_recipe({
        "data": {"name": "digits"}, "model": {"name": "mlp"}, "training": {"steps": 1},
        "tracker": {"instruments": [{"name": "robust-accuracy", "radius": 0.3}, {"name": "robust-accuracy", "label": "b"}]},
    })  # fmt: skip
    data = Dataset(name="d", inputs=torch.rand(4, 1, 3, 3), labels=torch.arange(4), value_range=(0, 1))
    found = by_name.instruments(plan.tracker.instruments, data)
    assert (found["robust-accuracy"].radius, found["b"].radius) == (0.3, 0.1)
    with pytest.raises(InputError, match="instrument 'b'; found it twice"):
        by_name.instruments([plan.tracker.instruments[1]] * 2, data)


def test_schedules_by_name():
    def made(**part):
        plan = checked_recipe(
            {"data": {"name": "d"}, "model": {"name": "mlp"}, "training": {"steps": 9}, "tracker": part}
        )
        return by_name.schedule(plan.tracker, 9)

    assert made() == LogSpaced(9, 50)
    assert made(schedule="every", every=3) == EveryN(3)
    assert made(schedule="budget", share=0.2, points=4) == TimeBudget(0.2, of=LogSpaced(9, 4))


@pytest.mark.parametrize("name", by_name.REGULARISERS)
def test_every_named_regulariser_trains(name):
    from cutaway.training.loop import TrainingSettings, train
    from cutaway.training.models import build_model

    options = {
        "mmr": {"norm": "inf", "gamma_boundary": 0.1, "gamma_decision": 0.1},
        "gradient-norm": {"norm": "2"},
        "linear-margin": {"norm": "inf", "gamma": 0.1},
        "trades": {"radius": 0.1, "steps": 2},
    }.get(name, {})
    plan = checked_recipe({
        "data": {"name": "d"}, "model": {"name": "mlp"}, "training": {"steps": 3},
        "regularisers": [{"name": name, "weight": 1.0, **options}],
    })  # fmt: skip
    data = Dataset(
        name="d",
        inputs=torch.rand(12, 4),
        labels=torch.arange(12) % 3,
        groups=torch.arange(12) % 2,
        value_range=(0, 1),
    )
    term = by_name.term(plan.regularisers[0], steps=3, data=data)
    plain, changed = (build_model("mlp", (4,), 3, width=6, depth=2) for _ in range(2))
    train(plain, data, TrainingSettings(steps=3, batch_size=6))
    train(changed, data, TrainingSettings(steps=3, batch_size=6), terms=[term])
    assert not all(torch.equal(a, b) for a, b in zip(plain.parameters(), changed.parameters(), strict=True))


@pytest.mark.parametrize("name", by_name.ADVERSARIES)
def test_every_named_adversary_trains(name):
    from cutaway.training.loop import TrainingSettings, train
    from cutaway.training.models import build_model

    plan = checked_recipe({
        "data": {"name": "d"}, "model": {"name": "mlp"}, "training": {"steps": 3},
        "adversary": {"name": name, "radius": 0.1},
    })  # fmt: skip
    data = Dataset(name="d", inputs=torch.rand(12, 4), labels=torch.arange(12) % 3, value_range=(0, 1))
    plain, changed = (build_model("mlp", (4,), 3, width=6, depth=2) for _ in range(2))
    train(plain, data, TrainingSettings(steps=3, batch_size=6))
    train(
        changed, data, TrainingSettings(steps=3, batch_size=6), adversary=by_name.adversary(plan.adversary, data=data)
    )
    assert not all(torch.equal(a, b) for a, b in zip(plain.parameters(), changed.parameters(), strict=True))
