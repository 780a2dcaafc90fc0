"""Modules and names that have moved: the old path still imports for one release, and warns with the new one.

A finder at the end of `sys.meta_path` answers for the old modules alone; nothing is imported until one is asked for.
A module that stays, but some of whose names have moved, ends with `__getattr__ = moved_names(__name__)`; the fronts of
packages (`_facade`) ask here by themselves.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MOVED = {
    "cutaway.run": "cutaway.running",
    "cutaway.compare": "cutaway.comparing",
    "cutaway.scan": "cutaway.scanning",
    "cutaway.geometry.language": "cutaway.language.geometry",
    "cutaway.geometry.language_blocks": "cutaway.language.blocks",
    "cutaway.geometry.language_charts": "cutaway.language.charts",
    "cutaway.geometry.language_instrument": "cutaway.instruments.language.language_geometry",
    "cutaway.geometry.intrinsic_dimension": "cutaway.language.dimension",
    "cutaway.geometry.instruments": "cutaway.instruments.geometry",
    "cutaway.geometry.instruments.affine_slice": "cutaway.instruments.geometry.affine_slice",
    "cutaway.geometry.instruments.ray_crossings": "cutaway.instruments.geometry.ray_crossings",
    "cutaway.geometry.instruments.sample_region": "cutaway.instruments.geometry.sample_region",
    "cutaway.geometry.local_complexity": "cutaway.instruments.geometry.local_complexity",
    "cutaway.robustness.robust_accuracy": "cutaway.instruments.robustness.robust_accuracy",
    "cutaway.outputs.accuracy": "cutaway.instruments.outputs.accuracy",
    "cutaway.language.instruments": "cutaway.instruments.language.language_geometry",
    "cutaway.evidence.resample": "cutaway.reading.intervals",
    "cutaway.reading.charts": "cutaway.pictures.charts",
    "cutaway.report.explorer.colours": "cutaway.pictures.colours",
    "cutaway.reading.words": "cutaway.wording",
    "cutaway.guard.evaluate": "cutaway.guard.evaluation",
    "cutaway.guard.nlp.perturb": "cutaway.guard.nlp.perturbations",
    "cutaway.network.graph.evaluate": "cutaway.network.graph.evaluation",
    "cutaway.network.graph.trace": "cutaway.network.graph.tracing",
    "cutaway.dynamics.simulate": "cutaway.dynamics.simulation",
    "cutaway.language.intrinsic_dimension": "cutaway.language.dimension",
    "cutaway.features.collapse": "cutaway.features.class_means",
    "cutaway.features.lofi.emergence": "cutaway.features.lofi.spectral_emergence",
    "cutaway.outputs.predictions": "cutaway.outputs.answers",
    "cutaway.robustness.certified_accuracy": "cutaway.robustness.certified_share",
    "cutaway.geometry.faces": "cutaway.arrangement.faces",
    "cutaway.geometry.rational": "cutaway.arrangement.rational",
    "cutaway.geometry.row_blocks": "cutaway.engines.row_blocks",
    "cutaway.geometry.pairs": "cutaway.data.pairs",
    "cutaway.geometry.dense_norms": "cutaway.reproductions._dense_norms",
    "cutaway.geometry.reconstruction": "cutaway.features.reconstruction",
    "cutaway.geometry.studies": "cutaway.structure.variants",
    "cutaway.geometry.regions": "cutaway.geometry.linear_regions",
    "cutaway.guard.regions": "cutaway.guard.head_regions",
    "cutaway.guard.nlp.regions": "cutaway.guard.nlp.boxes",
}
"""Old path -> new path."""

NAMES = {
    "cutaway.robustness.attacks:Ball": "cutaway.robustness.attacks.ball:PerturbationBall",
    "cutaway.robustness.attacks:Target": "cutaway.robustness.attacks.goals:TargetClass",
    "cutaway.features:Alignment": "cutaway.features.collapse_by_layer:SimplexAlignment",
    "cutaway.features:alignment": "cutaway.features.collapse_by_layer:simplex_alignment",
    "cutaway.kernels:alignment": "cutaway.kernels.shape:target_alignment",
    "cutaway.robustness:certified_radius": "cutaway.robustness.lipschitz:lipschitz_radius",
    "cutaway.robustness:count_patterns": "cutaway.robustness.patterns:count_activations",
    "cutaway.geometry.reconstruction:Alignment": "cutaway.features.reconstruction:ReconstructionAlignment",
    "cutaway.geometry.reconstruction:alignment": "cutaway.features.reconstruction:reconstruction_alignment",
    "cutaway.geometry.studies:hyperplane_misfit": "cutaway.geometry.boundary_distance",
    "cutaway.geometry:Alignment": "cutaway.features.reconstruction:ReconstructionAlignment",
    "cutaway.geometry:alignment": "cutaway.features.reconstruction:reconstruction_alignment",
    "cutaway.geometry:Estimate": "cutaway.arrangement.polytopes",
    "cutaway.geometry:polytope_volume": "cutaway.arrangement.polytopes",
    "cutaway.geometry:pruned": "cutaway.structure.variants",
    "cutaway.geometry:with_statistics_of": "cutaway.structure.variants",
    "cutaway.geometry:without_biases": "cutaway.structure.variants",
    "cutaway.geometry:Region": "cutaway.geometry.linear_regions:LinearRegion",
    "cutaway.training:Settings": "cutaway.training.loop:TrainingSettings",
    "cutaway.guard:Verdict": "cutaway.guard.guardrail:PromptVerdict",
    "cutaway.guard:evaluate": "cutaway.guard.evaluation:evaluate_guardrail",
    "cutaway.guard:load": "cutaway.guard.folder:load_guardrail",
    "cutaway.guard:save": "cutaway.guard.folder:save_guardrail",
    "cutaway.guard.nlp:Outcome": "cutaway.guard.nlp.pipeline:SentenceOutcome",
    "cutaway.guard.nlp:Settings": "cutaway.guard.nlp.pipeline:SentenceSettings",
    "cutaway.guard.nlp:run": "cutaway.guard.nlp.pipeline:run_pipeline",
    "cutaway.network.graph.evaluate:evaluate": "cutaway.network.graph.evaluation:evaluate_graph",
    "cutaway.guard.evaluate:evaluate": "cutaway.guard.evaluation:evaluate_guardrail",
    "cutaway.network.graph:evaluate": "cutaway.network.graph.evaluation:evaluate_graph",
    "cutaway.reproductions:names": "cutaway.reproductions._listing:reproduction_names",
    "cutaway.training.adapters.lightning:TrackerCallback": ":LightningCallback",
    "cutaway.training.adapters.huggingface:TrackerCallback": ":HuggingFaceCallback",
    "cutaway.scan:Settings": "cutaway.scanning:ScanSettings",
    "cutaway.scanning:Settings": ":ScanSettings",
    "cutaway.data:load": "cutaway.data.named:load_data",
    "cutaway.language.instruments:IntrinsicDimension": "cutaway.instruments.language.intrinsic_dimension",
    "cutaway.features.class_means:NeuralCollapse": "cutaway.instruments.features.neural_collapse",
    "cutaway.features.lofi.network_features:LofiFeatures": "cutaway.instruments.features.lofi_features",
    "cutaway.features.sparsity:Sparsity": "cutaway.instruments.features.sparsity",
    "cutaway.geometry.boundary_distance:BoundaryDistance": "cutaway.instruments.geometry.boundary_distance",
    "cutaway.geometry:AffineSlice": "cutaway.instruments.geometry.affine_slice",
    "cutaway.geometry:BoundaryDistance": "cutaway.instruments.geometry.boundary_distance",
    "cutaway.geometry:LocalComplexity": "cutaway.instruments.geometry.local_complexity",
    "cutaway.geometry:RayCrossings": "cutaway.instruments.geometry.ray_crossings",
    "cutaway.geometry:SampleRegion": "cutaway.instruments.geometry.sample_region",
    "cutaway.outputs:Accuracy": "cutaway.instruments.outputs.accuracy",
    "cutaway.robustness:RobustAccuracy": "cutaway.instruments.robustness.robust_accuracy",
}
"""Old module:name -> the module that has it now, with `:name` where that is another;
`:name` alone where it has stayed."""


class _Finder(MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None) -> ModuleSpec | None:
        if fullname not in MOVED:
            return None
        package = any(old.startswith(f"{fullname}.") for old in MOVED)
        return importlib.util.spec_from_loader(fullname, _Forward(), is_package=package)


class _Forward(Loader):
    """A module that holds the names of the one it has become."""

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        old = module.__name__
        warnings.warn(f"{old} is now {MOVED[old]}; the old path goes with the next release", DeprecationWarning, 6)
        new = importlib.import_module(MOVED[old])
        vars(module).update({name: value for name, value in vars(new).items() if not name.startswith("__")})
        module.__doc__ = new.__doc__
        vars(module)["__getattr__"] = moved_names(old)
        module.__class__ = _Called


class _Called(ModuleType):
    """An old module that hides a function of its name in the package (`guard.evaluate`): it is called as that one."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return getattr(self, self.__name__.rpartition(".")[2])(*args, **kwargs)


def moved_name(module: str, name: str) -> Any:
    """What `module.name` has become, with a warning; `AttributeError` for a name that never was there."""
    found = NAMES.get(f"{module}:{name}")
    if found is None:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    home, _, new = found.partition(":")
    home = home or module
    told = f"{new} in {home}" if new else f"in {home}"
    warnings.warn(f"{name} is now {told}; {module}.{name} goes with the next release", DeprecationWarning, 3)
    return getattr(importlib.import_module(home), new or name)


def moved_names(module: str) -> Callable[[str], Any]:
    """The `__getattr__` of a module some of whose names have moved."""
    return lambda name: moved_name(module, name)


def install() -> None:
    """Answer for the old paths from now on; called once by `cutaway`."""
    sys.meta_path.append(_Finder())
