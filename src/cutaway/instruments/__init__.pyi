# Written by tools/write_stubs.py from __init__.py.

from cutaway.instruments.curvature.curvature import Curvature as Curvature
from cutaway.instruments.curvature.margins import Margins as Margins
from cutaway.instruments.features.lofi_features import LofiFeatures as LofiFeatures
from cutaway.instruments.features.neural_collapse import NeuralCollapse as NeuralCollapse
from cutaway.instruments.features.sparsity import Sparsity as Sparsity
from cutaway.instruments.geometry.affine_slice import AffineSlice as AffineSlice
from cutaway.instruments.geometry.boundary_distance import BoundaryDistance as BoundaryDistance
from cutaway.instruments.geometry.boundary_migration import BoundaryMigration as BoundaryMigration
from cutaway.instruments.geometry.local_complexity import LocalComplexity as LocalComplexity
from cutaway.instruments.geometry.ray_crossings import RayCrossings as RayCrossings
from cutaway.instruments.geometry.sample_region import SampleRegion as SampleRegion
from cutaway.instruments.geometry.unit_boundaries import UnitBoundaries as UnitBoundaries
from cutaway.instruments.kernels.kernel_features import KernelFeatures as KernelFeatures
from cutaway.instruments.kernels.tangent_kernel import TangentKernel as TangentKernel
from cutaway.instruments.language.concept_heads import ConceptHeads as ConceptHeads
from cutaway.instruments.language.intrinsic_dimension import IntrinsicDimension as IntrinsicDimension
from cutaway.instruments.language.language_geometry import LanguageGeometry as LanguageGeometry
from cutaway.instruments.language.mlp_sparsity import MlpSparsity as MlpSparsity
from cutaway.instruments.outputs.accuracy import Accuracy as Accuracy
from cutaway.instruments.outputs.distillation import Distillation as Distillation
from cutaway.instruments.outputs.epistemic import Epistemic as Epistemic
from cutaway.instruments.outputs.group_accuracy import GroupAccuracy as GroupAccuracy
from cutaway.instruments.outputs.latent_extremes import LatentExtremes as LatentExtremes
from cutaway.instruments.outputs.own_labels import OwnLabels as OwnLabels
from cutaway.instruments.outputs.probability import Probability as Probability
from cutaway.instruments.outputs.pruning import Pruning as Pruning
from cutaway.instruments.robustness.robust_accuracy import RobustAccuracy as RobustAccuracy
from cutaway.instruments.robustness.uncertainty_under_attack import UncertaintyUnderAttack as UncertaintyUnderAttack
from cutaway.instruments.robustness.variation import Variation as Variation
from cutaway.instruments.structure.criticality import Criticality as Criticality
from cutaway.instruments.structure.effective_sparsity import EffectiveSparsity as EffectiveSparsity
from cutaway.instruments.text.answer_isotropy import AnswerIsotropy as AnswerIsotropy
from cutaway.instruments.text.answer_sampling import AnswerSampling as AnswerSampling
from cutaway.instruments.text.authorship import Authorship as Authorship
from cutaway.instruments.text.contamination import Contamination as Contamination

__all__ = [
    "Accuracy",
    "AffineSlice",
    "AnswerIsotropy",
    "AnswerSampling",
    "Authorship",
    "BoundaryDistance",
    "BoundaryMigration",
    "ConceptHeads",
    "Contamination",
    "Criticality",
    "Curvature",
    "Distillation",
    "EffectiveSparsity",
    "Epistemic",
    "GroupAccuracy",
    "IntrinsicDimension",
    "KernelFeatures",
    "LanguageGeometry",
    "LatentExtremes",
    "LocalComplexity",
    "LofiFeatures",
    "Margins",
    "MlpSparsity",
    "NeuralCollapse",
    "OwnLabels",
    "Probability",
    "Pruning",
    "RayCrossings",
    "RobustAccuracy",
    "SampleRegion",
    "Sparsity",
    "TangentKernel",
    "UncertaintyUnderAttack",
    "UnitBoundaries",
    "Variation",
]
