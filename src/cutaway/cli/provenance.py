"""`cutaway provenance RUN SUSPECT`: whether a network came out of a tracked training, from the order of its rows."""

from __future__ import annotations

from pathlib import Path

from cutaway.cli.command import Outcome, new_app

app = new_app("provenance", "Tell whether a network came out of a tracked training, from the order of its rows.")


@app.default
def provenance(
    run: Path,
    suspect: str,
    *,
    data: str,
    reference: str | None = None,
    weights: str | None = None,
    reference_weights: str | None = None,
    split: str = "train",
    seed: int = 0,
    device: str = "cpu",
    budget: str | None = None,
    trust_pickle: bool = False,
    trust_code: bool = False,
) -> Outcome:
    """Test whether SUSPECT came out of the training in the folder RUN, whose tracker kept the order of the rows.

    Parameters
    ----------
    run
        Folder of the tracked training.
    suspect
        The network in question: `file.py:factory` (with --weights), a file, a run's checkpoint, or a Hugging Face
        folder or id.
    data
        The training rows, in the numbering of the order log.
    reference
        A network that is not in question: best the same training in another order, else a public base model.
    weights
        Checkpoint to load into SUSPECT (.safetensors).
    reference_weights
        Checkpoint to load into the reference.
    split
        Which split of a named set.
    seed
        Seed of the permutations.
    device
        `cpu`, `cuda`, ...
    budget
        Memory budget, such as 8GB.
    trust_pickle
        Allow pickled modules, which can run any code.
    trust_code
        Build the network of a run by the factory that the run names, which runs its code.
    """
    from cutaway.cli.options import budget_bytes, open_subject
    from cutaway.errors import InputError
    from cutaway.text.provenance import check_random_order, last_positions, provenance_test, row_losses
    from cutaway.training.store import open_training

    rows, positions = last_positions(open_training(run).order())
    check_random_order(rows, positions)
    losses = []
    for model, file in ((suspect, weights), (reference, reference_weights)):
        if model is None:
            continue
        options = {"num": None, "seed": seed, "split": split, "device": device, "dtype": None, "budget": budget}
        network, dataset = open_subject(
            model, data, weights=file, trust_pickle=trust_pickle, trust_code=trust_code, **options
        )
        if rows[-1] >= len(dataset):
            raise InputError(
                f"data {dataset.name!r}",
                found=f"{len(dataset)} rows",
                expected=f"at least {rows[-1] + 1}, as the order log of {run} numbers them",
                remedy="give the rows that the training had, in the same order",
            )
        losses.append(row_losses(network, dataset.subset(rows), budget=budget_bytes(budget)))
    found = provenance_test(positions, *losses, seed=seed)
    payload = {
        "statistic": found.statistic,
        "p_value": found.p_value,
        "p_approximate": found.p_approximate,
        "rows": found.rows,
        "reference": reference,
        "status": "estimate",
    }
    return Outcome(payload=payload, words=_words(found, reference))


def _words(found, reference: str | None) -> str:
    text = f"Rows seen later have a {'lower' if found.statistic < 0 else 'higher'} loss: correlation "
    text += f"{found.statistic:.3f} over {found.rows} rows, p = {found.p_value:.2g} by permutation"
    text += f" ({found.p_approximate:.1e} by Student's t)." if found.p_value < 0.001 else "."
    if found.p_value <= 0.01:
        return text + " The network knows the order of this training: it, or what it was made from, came out of it."
    weak = "" if reference else " Without --reference the test is weak; the same training in another order serves best."
    return text + " Nothing shows that it came out of this training; that does not show that it did not." + weak
