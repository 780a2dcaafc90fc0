"""What audits of tables share: a question, a reading of the same shape as an instrument's, its null, words, verdict."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cutaway.reading import Coverage, Provenance, Reading
from cutaway.reading.provenance import Cost, now, package_versions
from cutaway.reading.rank import p_value
from cutaway.reading.table import Table
from cutaway.status import Status


@dataclass(frozen=True, kw_only=True)
class TableAudit(ABC):
    """One question about a table. Fields are its settings; `measure` of a subclass takes the columns.

    Class attributes
    ----------------
    name, question, source : as of an instrument.
    null : which null it draws, a name that `cutaway.wording` has words for; "" for none.
    limits : what the figures do not tell.
    """

    name: ClassVar[str]
    question: ClassVar[str]
    source: ClassVar[str]
    null: ClassVar[str] = ""
    limits: ClassVar[str]

    @abstractmethod
    def verdict(self, reading: Reading) -> str:
        """The verdict in a word; `unknown` where the rows do not tell."""

    @abstractmethod
    def describe(self, reading: Reading) -> list[str]:
        """What was found, in sentences, the verdict's first."""

    @abstractmethod
    def draw(self, reading: Reading) -> Any:
        """The picture, an Altair chart."""

    def more(self, reading: Reading) -> dict[str, Any]:
        """What `--json` tells beside the figures."""
        return {}

    def _reading(
        self,
        table: Table,
        columns: Mapping[str, Any],
        *,
        data: str,
        seed: int,
        began: float,
        draws: Mapping[str, NDArray[np.float64]] | None = None,
        status: Status = Status.ESTIMATE,
        reason: str = "",
    ) -> Reading:
        """The reading of what `table` has collected from `columns` (each (n,)), figures judged by their `draws` (b,) of
        the null."""
        figures = []
        for figure in table.figures:
            drawn = None if draws is None else draws.get(figure.name)
            if drawn is not None and np.isfinite(figure.value) and len(drawn):
                figure = dataclasses.replace(
                    figure,
                    p_value=p_value(figure.value, drawn, figure.alternative),
                    null_median=float(np.nanmedian(drawn)),
                    null_count=len(drawn),
                    null_draws=tuple(drawn[np.isfinite(drawn)].tolist()[:200]),
                )
            figures.append(figure)
        rows = len(next(iter(columns.values())))
        return Reading(
            values=table.values,
            figures=tuple(figures),
            status=status,
            coverage=Coverage(samples=rows),
            cost=Cost(seconds=time.perf_counter() - began),
            provenance=Provenance(
                instrument=self.name,
                parameters=dataclasses.asdict(self),
                data=data,
                data_fingerprint=_fingerprint(columns),
                seed=seed,
                versions=package_versions(),
                time=now(),
            ),
            reason=reason,
            null=self.null if draws else "",
        )


def _fingerprint(columns: Mapping[str, Any]) -> str:
    """sha256 (hex) of the columns in order, names and values."""
    digest = hashlib.sha256()
    for name, values in columns.items():
        text = "\0".join([name, *map(str, np.asarray(values, dtype=object).ravel().tolist())]).encode()
        digest.update(len(text).to_bytes(8, "little") + text)
    return digest.hexdigest()
