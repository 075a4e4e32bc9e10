"""Sign banks written by a language model.

Only the kind of image, the names of the categories and the rules of style are sent; no function of
this package takes an image or a table of patients.
"""

from sdmad.signs.generation.cache import AnswerCache, default_cache
from sdmad.signs.generation.client import ChatClient, api_key_from
from sdmad.signs.generation.conversation import Interviewer
from sdmad.signs.generation.failures import LanguageModelError
from sdmad.signs.generation.generate import Generated, generate_bank
from sdmad.signs.generation.request import GenerationRequest, read_categories
from sdmad.signs.generation.style import Style
from sdmad.signs.generation.templates import PromptTemplates

__all__ = [
    "AnswerCache",
    "ChatClient",
    "Generated",
    "GenerationRequest",
    "Interviewer",
    "LanguageModelError",
    "PromptTemplates",
    "Style",
    "api_key_from",
    "default_cache",
    "generate_bank",
    "read_categories",
]
