"""The page at `/`: one text box, the verdict, nothing loaded from elsewhere."""

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Guardrail</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem;color:#1c2430}
textarea{width:100%;height:8rem;font:inherit;padding:.6rem;box-sizing:border-box}
input{font:inherit;padding:.3rem;width:16rem}button{font:inherit;padding:.4rem 1.2rem;margin:.6rem 0}
#bar{height:.8rem;background:#e8eaee;position:relative;margin:.8rem 0}#fill{height:100%;width:0;background:#2563a8}
#mark{position:absolute;top:-.2rem;height:1.2rem;width:2px;background:#d9822b}
.harmful{color:#b4540a}.harmless{color:#2563a8}small{color:#667}
</style></head><body><h1>Guardrail</h1>
<p><label for="prompt">Prompt</label><br><textarea id="prompt"></textarea></p>
<p><label>API key, if one is asked for <input id="key" type="password" autocomplete="off"></label></p>
<button id="go">Check</button><p id="verdict" role="status"></p>
<div id="bar"><div id="fill"></div><div id="mark"></div></div><small id="more"></small>
<script>
const $ = (id) => document.getElementById(id), p = (x) => 1 / (1 + Math.exp(-x));
$("go").onclick = async () => {
  const headers = {"content-type": "application/json"};
  if ($("key").value) headers["x-api-key"] = $("key").value;
  const reply = await fetch("v1/check", {method: "POST", headers, body: JSON.stringify({prompt: $("prompt").value})});
  const r = await reply.json();
  if (!reply.ok) { $("verdict").className = ""; $("verdict").textContent = r.error; return; }
  $("verdict").className = r.harmful ? "harmful" : "harmless";
  $("verdict").textContent = r.harmful ? "flagged as harmful" : "not flagged";
  $("fill").style.width = 100 * r.probability + "%";
  $("mark").style.left = 100 * p(r.threshold) + "%";
  $("more").textContent = `score ${r.score.toFixed(3)}, threshold ${r.threshold.toFixed(3)}, ${r.tokens} tokens` +
    (r.truncated ? ` (in ${r.windows} windows, the worst counts)` : "") + `, certificate: ${r.certificate}, ${(1000 *
    r.seconds).toFixed(1)} ms`;
};
</script></body></html>
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
