"""What the routes take and give, for `/openapi.json`; bodies are read by hand, within their limits."""

from __future__ import annotations

TEXT = {"type": "string", "minLength": 1}
VERDICT = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "also in the log of decisions"},
        "harmful": {"type": "boolean", "description": "the score is above the threshold"},
        "score": {"type": "number", "description": "logit; of a long prompt the worst window's"},
        "probability": {"type": "number"},
        "threshold": {"type": "number"},
        "truncated": {"type": "boolean", "description": "longer than one window: read in several that overlap"},
        "tokens": {"type": "integer"},
        "windows": {"type": "integer"},
        "certificate": {"type": "string"},
        "seconds": {"type": "number"},
    },
}
REFUSED = {
    "400": "not JSON",
    "401": "no valid key",
    "408": "the body came too slowly",
    "413": "too large, too long or too many",
    "422": "another shape, or an unusable prompt",
    "503": "full, stopping or not ready: try again",
    "504": "no answer in time",
}


def _body(fields: dict, gives: dict, kind: str = "application/json") -> dict:
    schema = {"type": "object", "required": list(fields)[:1], "properties": fields}
    answers = {code: {"description": words} for code, words in REFUSED.items()}
    return {
        "requestBody": {"required": True, "content": {kind: {"schema": schema}}},
        "responses": {"200": {"description": "verdicts", "content": {kind: {"schema": gives}}}, **answers},
    }


def _list(of: dict) -> dict:
    return {"type": "array", "items": of}


_NEAR = {"type": "object", "properties": {"text": TEXT, "label": TEXT, "score": {"type": "number"}}}
_EXPLAINED = {
    **VERDICT["properties"],
    "evidence": _list(_NEAR),
    "by_words": _list(_NEAR),
    "agreement": {"type": "object"},
}
BODIES = {
    "/v1/explain": _body({"prompt": TEXT}, {"type": "object", "properties": _EXPLAINED}),
    "/v1/check": _body({"prompt": TEXT}, VERDICT),
    "/v1/batch": _body({"prompts": _list(TEXT)}, {"type": "object", "properties": {"verdicts": _list(VERDICT)}}),
    "/v1/stream": _body({"text": TEXT}, VERDICT, "application/x-ndjson"),
    "/v1/moderations": _body(
        {"input": {"oneOf": [TEXT, _list(TEXT), _list({"type": "object"})]}, "model": {"type": "string"}},
        {
            "type": "object",
            "properties": {"id": TEXT, "model": TEXT, "results": _list({"type": "object"})},
        },
    ),
}
