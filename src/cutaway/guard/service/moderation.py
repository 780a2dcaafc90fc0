"""`POST /v1/moderations` in the shape of OpenAI's moderation endpoint, so that its clients work as they are.

`input` is a text, a list of texts, or one list of parts {"type": "text", "text": ...}, which together are one prompt.
There is one category, `harmful`; its score is the probability under balanced classes, and `flagged` is the verdict at
the threshold, which need not be at probability one half. `model` may be named and changes nothing. Images are refused
(422).
"""

from __future__ import annotations

from typing import Any

from cutaway.guard.service.requests import Refused, prompts_of
from cutaway.guard.service.settings import ServiceSettings

MODEL = "cutaway-guard"


def texts_of(content: Any, settings: ServiceSettings) -> list[str]:
    """The prompts of a request's JSON; refuses as `prompts_of` does."""
    if not isinstance(content, dict) or "input" not in content:
        raise Refused(422, "expected a JSON object with the field 'input'")
    given = content["input"]
    if isinstance(given, list) and any(isinstance(part, dict) for part in given):
        given = [_joined(given)]
    return prompts_of({"prompts": given if isinstance(given, list) else [given]}, "prompts", settings)


def _joined(parts: list) -> str:
    if not all(isinstance(p, dict) and p.get("type") == "text" and isinstance(p.get("text"), str) for p in parts):
        raise Refused(422, "parts of 'input' have to be objects of type 'text': this guardrail reads no images")
    return "\n".join(part["text"] for part in parts)


def answer(verdicts: list[dict]) -> dict:
    """The response's JSON."""
    results = [
        {
            "flagged": v["harmful"],
            "categories": {"harmful": v["harmful"]},
            "category_scores": {"harmful": v["probability"]},
            "category_applied_input_types": {"harmful": ["text"]},
        }
        for v in verdicts
    ]
    return {"id": f"modr-{verdicts[0]['id']}", "model": MODEL, "results": results}


def refusal(status: int, reason: str) -> dict:
    """An error in OpenAI's shape."""
    kind = "server_error" if status >= 500 else "authentication_error" if status == 401 else "invalid_request_error"
    return {"error": {"message": reason, "type": kind, "param": None, "code": None}}
