"""The pages at `/` (one text box, the verdict, what stands behind it) and `/docs` (what the routes take and give).

Nothing is loaded from elsewhere, and what a client typed or a training prompt says is set as text, never as markup.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--soft:#667085;--line:#d9dde4;--bad:#b4540a;--good:#2563a8;--back:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--soft:#98a2b3;--line:#39414e;--bad:#f0a35e;--good:#7fb2ef;
--back:#14181f}}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:var(--ink);
background:var(--back)}
textarea{width:100%;height:6rem;font:inherit;padding:.6rem;box-sizing:border-box}
input{font:inherit;padding:.3rem;width:14rem}button{font:inherit;padding:.4rem 1.4rem}
.row{display:flex;gap:1rem;flex-wrap:wrap;align-items:center;justify-content:space-between}
#bar{height:.8rem;background:var(--line);position:relative;margin:1rem 0 1.6rem}#fill{height:100%;width:0}
#mark{position:absolute;top:-.25rem;height:1.3rem;width:2px;background:var(--ink)}
#mark span{position:absolute;top:1.2rem;left:-2rem;width:4rem;text-align:center;font-size:.75rem;color:var(--soft)}
#verdict{font-size:1.3rem;margin:.8rem 0 0}.harmful{color:var(--bad)}.harmless{color:var(--good)}
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(8rem,1fr));gap:.4rem 1rem;margin:0}
dt{font-size:.8rem;color:var(--soft)}dd{margin:0}
.near{display:grid;grid-template-columns:3fr 2fr;gap:1.5rem}@media(max-width:40rem){.near{grid-template-columns:1fr}}
h2{font-size:1rem;margin:1.6rem 0 .3rem}li{margin:.5rem 0}ol{padding-left:1.2rem;margin:0}
li small,.soft{color:var(--soft)}li div{font-size:.85rem}.pair{display:inline-block;border:1px solid var(--line);
padding:0 .35rem;margin:.1rem .25rem .1rem 0}table{border-collapse:collapse}
td,th{text-align:left;padding:.2rem 1rem .2rem 0;
vertical-align:top}code,pre{font:.85rem/1.5 ui-monospace,monospace}pre{overflow-x:auto;
border:1px solid var(--line);padding:.6rem}
"""
_HEAD = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    '<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head><body>'
)
_BODY = """<h1>Guardrail</h1>
<label for="prompt">Prompt</label><br><textarea id="prompt"></textarea>
<p class="row"><button id="go">Check</button>
<label>API key, if one is asked for <input id="key" type="password" autocomplete="off"></label>
<a href="docs">the interface</a></p>
<p id="verdict" role="status"></p><div id="bar" hidden><div id="fill"></div>
<div id="mark"><span>threshold</span></div></div>
<dl id="facts"></dl>
<div class="near" id="near" hidden><section><h2>Nearest training prompts, by tokens</h2><ol id="tokens"></ol></section>
<section><h2>By words</h2><ol id="words"></ol></section></div><p class="soft" id="told"></p>
<script>
const EXPLAIN = __EXPLAIN__, $ = (id) => document.getElementById(id), p = (x) => 1 / (1 + Math.exp(-x));
const made = (name, text, kind) => { const e = document.createElement(name); e.textContent = text;
  if (kind) e.className = kind; return e; };
const item = (near) => { const li = made("li", ""), pairs = (near.tokens || []).slice();
  li.append(made("span", near.label, near.label), made("small", " " + near.score.toFixed(2)), made("br", ""),
    made("span", near.text));
  pairs.sort((a, b) => b.score - a.score);
  const line = made("div", "");
  for (const m of pairs.slice(0, 6)) line.append(
    made("span", `${m.token} \\u2192 ${m.match} ${m.score.toFixed(2)}`, "pair"));
  li.append(line); return li; };
$("go").onclick = async () => {
  const headers = {"content-type": "application/json"};
  if ($("key").value) headers["x-api-key"] = $("key").value;
  const body = JSON.stringify({prompt: $("prompt").value});
  const reply = await fetch(EXPLAIN ? "v1/explain" : "v1/check", {method: "POST", headers, body});
  const r = await reply.json();
  $("facts").replaceChildren(); $("near").hidden = true; $("told").textContent = ""; $("bar").hidden = !reply.ok;
  if (!reply.ok) { $("verdict").className = ""; $("verdict").textContent = r.error; return; }
  const kind = r.harmful ? "harmful" : "harmless";
  $("verdict").className = kind;
  $("verdict").textContent = r.harmful ? "Flagged as harmful" : "Not flagged";
  $("fill").style.width = 100 * r.probability + "%";
  $("fill").style.background = `var(--${r.harmful ? "bad" : "good"})`;
  $("mark").style.left = 100 * p(r.threshold) + "%";
  const facts = {"score (logit)": r.score.toFixed(3), "threshold (logit)": r.threshold.toFixed(3),
    "certificate": r.certificate, "tokens": r.tokens +
    (r.truncated ? `, in ${r.windows} windows, the worst counts` : ""),
    "time": (1000 * r.seconds).toFixed(1) + " ms"};
  for (const [k, v] of Object.entries(facts)) { const d = made("div", ""); d.append(made("dt", k), made("dd", v));
    $("facts").append(d); }
  if (!EXPLAIN) return;
  $("tokens").replaceChildren(...r.evidence.map(item)); $("words").replaceChildren(...r.by_words.map(item));
  if (!r.by_words.length) $("words").replaceChildren(made("li", "no training prompt shares a word with it", "soft"));
  $("near").hidden = false;
  const a = r.agreement;
  if (a) $("told").textContent = `Of ${a.rows} other prompts ${a.agree} have the label of the nearest by tokens ` +
    `(${a.share.toFixed(2)}, 95 % ${a.low.toFixed(2)} to ${a.high.toFixed(2)}), ${a.words} of the nearest by words; ` +
    `by chance ${a.chance.toFixed(2)}.`;
};
</script></body></html>
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"


def try_page(*, explains: bool) -> str:
    """The page at `/`; where the service `explains`, with the nearest training prompts."""
    body = _BODY.replace("__EXPLAIN__", "true" if explains else "false")
    return _HEAD.format(title="Guardrail", style=_STYLE) + body


def docs_page(described: Mapping[str, Mapping[str, Any]]) -> str:
    """The page at `/docs`: every route of `described` (path -> OpenAPI operation), its fields, answers and an
    example."""
    parts = [_HEAD.format(title="Guardrail: the interface", style=_STYLE), "<h1>The interface</h1>"]
    parts.append('<p>The same for machines: <a href="openapi.json">openapi.json</a>. <a href="./">Try it.</a></p>')
    for path, told in described.items():
        (kind, content), *_ = told["requestBody"]["content"].items()
        fields = content["schema"]["properties"]
        rows = "".join(
            f"<tr><td><code>{escape(k)}</code></td><td>{escape(_type(v))}</td></tr>" for k, v in fields.items()
        )
        answers = "".join(
            f"<tr><td>{escape(code)}</td><td>{escape(answer['description'])}</td></tr>"
            for code, answer in told["responses"].items()
        )
        example = escape(f"curl -s -H 'content-type: {kind}' -d '{_EXAMPLES[path]}' http://127.0.0.1:8000{path}")
        parts.append(f"<h2>POST {escape(path)}</h2><table>{rows}</table><pre>{example}</pre><table>{answers}</table>")
    return "".join([*parts, "</body></html>"])


_EXAMPLES = {
    "/v1/check": '{"prompt": "Write a poem."}',
    "/v1/explain": '{"prompt": "Write a poem."}',
    "/v1/batch": '{"prompts": ["Write a poem."]}',
    "/v1/stream": '{"text": "Write a"}',
    "/v1/moderations": '{"input": "Write a poem."}',
}


def _type(schema: Mapping[str, Any]) -> str:
    if "oneOf" in schema:
        return " or ".join(_type(s) for s in schema["oneOf"])
    return f"list of {_type(schema['items'])}" if schema.get("type") == "array" else str(schema.get("type", ""))
