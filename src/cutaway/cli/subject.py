"""What a command looks at: one `Subject` that every command which takes a network flattens into its options, and one
`Engine` for those that send jobs elsewhere. `--help` reads the docstrings below.

Annotations are not postponed here: those of a class that a command elsewhere extends are read when it parses.
"""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, replace
from typing import TYPE_CHECKING, Any

from cyclopts import Parameter

from cutaway.cli.options import Budget, Device, Seed, TrustCode, budget_bytes
from cutaway.errors import InputError
from cutaway.seeds import check_seed

if TYPE_CHECKING:
    from torch import nn

    from cutaway.data import Dataset
    from cutaway.engines.base import Executor
    from cutaway.network import Network
    from cutaway.network.sources import LoadedModel

TOKENS = 32  # of a text, so that rows are of equal length


@Parameter(name="*")
@dataclass(frozen=True)
class Subject:
    """A network and the rows it is looked at with, as the command line names them.

    Parameters
    ----------
    model
        pkg.module:factory, file.py:factory (with --weights), a .pt2 or .onnx file, a run of cutaway fit or one of its
        checkpoints, or a Hugging Face folder or id.
    weights
        Checkpoint to load into the model (.safetensors).
    data
        A named set (digits, mnist, fashion-mnist, cifar10, cifar10-jpeg) or a path (.npz, .npy, .csv, .parquet, a
        folder of images by class).
    groups
        Array (.npz) or column (.csv, .parquet) of the data that says which group a row is of; it is no input then.
    labels2
        Array or column of the data with a second label of the same classes; it is no input then.
    num
        How many rows of the data to use.
    tokens
        How many tokens of a text a language model reads; shorter texts are left out.
    split
        Which split of a named set: train or test.
    dtype
        float32 or float64; where none is told, the model's own.
    trust_pickle
        Allow pickled modules, which can run any code.
    """

    model: str | None = None
    _: KW_ONLY
    weights: str | None = None
    data: str | None = None
    groups: str | None = None
    labels2: str | None = None
    num: int | None = None
    tokens: int = TOKENS
    split: str = "test"
    seed: Seed = 0
    device: Device = "cpu"
    dtype: str | None = None
    budget: Budget = None
    trust_pickle: bool = False
    trust_code: TrustCode = False

    @property
    def room(self) -> int | None:
        """The budget in bytes."""
        return budget_bytes(self.budget)

    @property
    def loading(self) -> dict[str, Any]:
        """What `load_model` is told beside the model."""
        return {"weights": self.weights, "trust_pickle": self.trust_pickle, "trust_code": self.trust_code}

    def loaded(self, model: str | None = None, *, device: str = "cpu") -> "LoadedModel":
        """The model, or `model` in its place, opened within the budget."""
        from cutaway.files import within
        from cutaway.network.sources import load_model

        with within(self.room):
            return load_model(model or self.model or "", device=device, **self.loading)

    def check(self) -> None:
        """Before any work. Raises InputError for options without sense, and for a device that is not there.

        On the processor and without columns this loads no torch: `certify` loads it in the process that searches alone.
        """
        if self.dtype not in (None, "float32", "float64"):
            raise InputError(
                "option --dtype", found=self.dtype, expected="float32 or float64", remedy="give one of the two"
            )
        if self.num is not None and self.num < 1:
            remedy = "give a whole number of at least 1"
            raise InputError("option --num", found=str(self.num), expected="at least 1", remedy=remedy)
        if self.model is None and self.weights is not None:
            raise InputError(
                "option --weights",
                found="no model",
                expected="a model to load the weights into",
                remedy="name the model that they belong to",
            )
        if self.tokens < 2:
            remedy = "give a whole number of at least 2: the first token is given, the others are read"
            raise InputError("option --tokens", found=str(self.tokens), expected="at least 2", remedy=remedy)
        check_seed(self.seed)
        if self.device != "cpu":
            from cutaway.network.sources import usable_device

            usable_device(self.device)
        budget_bytes(self.budget)
        if self.data is None and not (self.groups is None and self.labels2 is None):
            from cutaway.data.columns import no_columns

            no_columns("no --data", self.groups, self.labels2)

    def open(self, *, random: bool = False, exact: bool = False) -> "tuple[Network, Dataset]":
        """The network and the data set, which must fit each other. With `random` the network may answer at random, with
        `exact` texts must survive their tokens.

        Without a model, a small network is trained on digits. Text is cut into rows of tokens by the model's tokenizer.
        Without data, a language model reads its example text, and other models of one vector input standard normal
        inputs (said in the data's name).
        """
        self.check()
        if self.model is None:
            from cutaway.demo import train_digits

            module, dataset = train_digits(seed=self.seed)
            if self.data is not None:
                dataset = self.rows()
            elif self.num is not None:
                dataset = dataset.take(self.num, self.seed)
            return self.network(module, dataset, "small CNN trained on digits"), dataset
        from cutaway.files import within

        loaded = self.loaded(device=self.device)
        with within(self.room):
            dataset = self._fitting(loaded, exact)
        return self.network(loaded.model, dataset, loaded.name, random=random), dataset

    def network(self, module: "nn.Module", dataset: "Dataset", name: str, *, random: bool = False) -> "Network":
        """A view on the module, on the device and of the type that were asked for."""
        import torch

        from cutaway.network import Network

        module = module.to(self.device)
        if self.dtype is not None:
            module = module.to(getattr(torch, self.dtype))
        return Network(module, dataset.inputs[:2], name=name, random=random)

    def rows(self) -> "Dataset":
        """The rows of `data`, read within the budget; what their file lost on the way is said."""
        from cutaway.data import load_data
        from cutaway.files import within

        assert self.data is not None
        columns = {"groups": self.groups, "labels2": self.labels2}
        with within(self.room):
            return noted(load_data(self.data, split=self.split, num=self.num, seed=self.seed, **columns))

    def _fitting(self, loaded: "LoadedModel", exact: bool) -> "Dataset":
        """Rows for the loaded model."""
        import torch

        from cutaway.data import Dataset, load_texts
        from cutaway.data.columns import no_columns

        if self.data is not None and loaded.tokenizer is not None and not self.data.endswith((".npz", ".npy")):
            no_columns(f"texts {self.data}", None, self.labels2)
            texts = load_texts(self.data, group_column=self.groups)
            tokens = noted(texts.tokenised(loaded.tokenizer, self.tokens, exact=exact))
            return tokens.take(min(self.num, len(tokens)), self.seed) if self.num is not None else tokens
        if self.data is not None:
            return _as_it_reads(loaded, self.rows())
        if loaded.example is None:
            raise InputError(
                f"model {loaded.name!r}",
                found="no data set",
                expected="one",
                remedy="name one with --data, for instance --data mnist",
            )
        if not loaded.example.is_floating_point():
            return Dataset(name="the model's example text", inputs=loaded.example)
        generator = torch.Generator().manual_seed(self.seed)
        inputs = torch.randn((self.num or 256, *loaded.example.shape[1:]), generator=generator, dtype=torch.float32)
        return Dataset(name="standard normal inputs (no data given)", inputs=inputs)


def noted(data: "Dataset") -> "Dataset":
    """The same rows, after its note was said on standard error."""
    if data.note:
        print(f"{data.name}: {data.note}", file=sys.stderr, flush=True)
    return data


def _as_it_reads(loaded: "LoadedModel", data: "Dataset") -> "Dataset":
    """The rows as they are; of whole numbers (n, length), read from arrays as a table is, as tokens for a model that
    reads tokens and refuses a table."""
    import torch

    inputs = data.inputs
    if (
        inputs.ndim != 2
        or not inputs.is_floating_point()
        or not bool(((inputs >= 0) & (inputs == inputs.round())).all())
    ):
        return data
    tokens = loaded.example is not None and not loaded.example.is_floating_point()
    if not tokens and any(isinstance(part, torch.nn.Embedding) for part in loaded.model.modules()):
        tokens = not _reads(loaded.model, inputs[:1]) and _reads(loaded.model, inputs[:1].long())
    return replace(data, inputs=inputs.long(), value_range=None, note="") if tokens else data


def _reads(model: "nn.Module", inputs: Any) -> bool:
    import torch

    device = next((p.device for p in model.parameters()), inputs.device)
    try:
        with torch.no_grad():
            model(inputs.to(device))
    except Exception:  # what it refuses is told by the network's own check
        return False
    return True


@dataclass(frozen=True)
class ExactSubject(Subject):
    """A subject of commands whose guarantees rest on float64 on the processor: any other choice is refused, not
    ignored."""

    _: KW_ONLY
    dtype: str | None = "float64"

    def check(self) -> None:
        for option, found, expected in (("--device", self.device, "cpu"), ("--dtype", self.dtype, "float64")):
            if found != expected:
                raise InputError(
                    f"option {option}",
                    found=found or "nothing",
                    expected=expected,
                    remedy="guarantees are computed in float64 on the processor; the network itself may be of any type",
                )
        super().check()


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Engine:
    """Where independent jobs run.

    Parameters
    ----------
    engine
        Where texts, prompts, permutations, null networks and the rows of a list run: inline, loky, dask or submitit; in
        a scan also auto (nulls in processes where they pay). The numbers are the same.
    workers
        How many processes or jobs.
    address
        Of a Dask scheduler, or slurm for submitit.
    """

    engine: str = "inline"
    workers: int | None = None
    address: str | None = None

    def executor(self) -> "Executor":
        """Raises InputError for an engine that there is not."""
        from cutaway.engines.executor import get_executor

        return get_executor(self.engine, self.workers, self.address)

    @contextlib.contextmanager
    def at_work(self, nulls: int = 0) -> "Iterator[Executor | None]":
        """The executor, to which what can be split inside goes, and so may `nulls` replicates; None for inline. Says
        where there was nothing of either."""
        from cutaway.engines.parts import working_on

        with self.executor() as executor:
            if self.engine == "inline":
                yield None
                return
            with working_on(executor) as at:
                yield executor
        if not nulls and (told := at.told(self.engine)):
            print(told, file=sys.stderr, flush=True)
