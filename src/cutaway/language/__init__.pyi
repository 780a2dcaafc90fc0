# Written by tools/write_stubs.py from __init__.py.

from cutaway.language.blocks import MlpBlock as MlpBlock
from cutaway.language.blocks import find_mlp_blocks as find_mlp_blocks
from cutaway.language.charts import dimension_curve as dimension_curve
from cutaway.language.charts import feature_map as feature_map
from cutaway.language.charts import head_map as head_map
from cutaway.language.charts import layers_curve as layers_curve
from cutaway.language.charts import prompt_map as prompt_map
from cutaway.language.dimension import intrinsic_dimension as intrinsic_dimension
from cutaway.language.geometry import GeometryReader as GeometryReader
from cutaway.language.geometry import LanguageFeatures as LanguageFeatures
from cutaway.language.geometry import language_geometry as language_geometry
from cutaway.language.heads import HeadLayer as HeadLayer
from cutaway.language.heads import find_heads as find_heads
from cutaway.language.heads import read_matrix as read_matrix
from cutaway.language.heads import scaled_heads as scaled_heads
from cutaway.language.reading_out import Tail as Tail
from cutaway.language.reading_out import find_tail as find_tail
from cutaway.language.sentences import SentenceReader as SentenceReader
from cutaway.language.sentences import sentence_vectors as sentence_vectors
from cutaway.language.token_similarity import maxsim as maxsim

__all__ = [
    "GeometryReader",
    "HeadLayer",
    "LanguageFeatures",
    "MlpBlock",
    "SentenceReader",
    "Tail",
    "dimension_curve",
    "feature_map",
    "find_heads",
    "find_mlp_blocks",
    "find_tail",
    "head_map",
    "intrinsic_dimension",
    "language_geometry",
    "layers_curve",
    "maxsim",
    "prompt_map",
    "read_matrix",
    "scaled_heads",
    "sentence_vectors",
]
