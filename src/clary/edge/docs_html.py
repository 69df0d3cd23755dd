"""The page of an endpoint, whole in one document: nothing is loaded from anywhere. Pure."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import shlex
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from clary.control.endpoint_docs import EndpointFacts
from clary.domain.signature import Example, ModelSignature
from clary.edge.openapi import CSV, Variant

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
h1{margin-bottom:0}h2{margin-top:2rem;font-size:1.2rem}code,pre,textarea{font:14px/1.45 ui-monospace,monospace}
pre,textarea{background:#f5f5f2;padding:.75rem;overflow:auto;border:1px solid #ddd;border-radius:4px}
textarea{width:100%;box-sizing:border-box}table{border-collapse:collapse}
th,td{text-align:left;padding:.25rem 1rem .25rem 0;border-bottom:1px solid #eee}.muted{color:#666}
.bad{color:#a00}@media(prefers-color-scheme:dark){body{background:#1b1b1b;color:#ddd}
pre,textarea{background:#262626;border-color:#444;color:#ddd}th,td{border-color:#333}a{color:#8bf}}
"""
_SCRIPT = """
document.getElementById('ask').addEventListener('submit', async event => {
  event.preventDefault();
  const said = document.getElementById('said');
  said.textContent = '...';
  try {
    const answer = await fetch('invocations', {method: 'POST', body: document.getElementById('body').value,
      headers: {'Content-Type': document.getElementById('type').value}});
    said.textContent = answer.status + ' ' + (answer.headers.get('content-type') || '') + '\\n' + await answer.text();
  } catch (error) { said.textContent = String(error); }
});
"""
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; connect-src 'self'; form-action 'none'; base-uri 'none'; "
    f"script-src 'sha256-{base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()}'"
)
"""Content-Security-Policy of the page: its own script and nothing else runs."""
_COLUMNS_SHOWN = 500
_ERRORS = """<h2>Refusals</h2><table><tr><th>status</th><th>code</th><th>when</th></tr>
<tr><td>400</td><td>ValidationError</td><td>a header, or the endpoint's name, is not valid</td></tr>
<tr><td>413</td><td>RequestTooLarge</td><td>the body is larger than 25 MiB</td></tr>
<tr><td>424</td><td>ModelError</td><td>the model refused or failed: <code>OriginalMessage</code> has its words, with the
row and column at fault where they are known, <code>OriginalStatusCode</code> its status</td></tr>
<tr><td>503</td><td>ServiceUnavailable</td><td>no replica is free or running; <code>Retry-After</code> says when to try
again</td></tr></table>"""


def page(facts: EndpointFacts, variants: Sequence[Variant], base_url: str, *, auth: bool) -> str:
    """The page as HTML. Where variants differ the first one's signature stands for the endpoint."""
    signature = variants[0].signature if variants else ModelSignature()
    name = html.escape(facts.name)
    address = f"{base_url}/endpoints/{quote(facts.name, safe='')}/invocations"
    example = signature.example or _made_up(signature)
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title><style>{_STYLE}</style>',
        f"<h1>{name}</h1><p>{_status(facts)} · {html.escape(facts.scope.region)} · ",
        '<a href="openapi.json">openapi.json</a></p>',
        f"<p>POST <code>{html.escape(address)}</code></p>",
        _variants(facts),
        _takes(signature),
        _example(example, answered=signature.example is not None),
        _form(example, signature) if not auth else "<p>Requests to this server are signed (SigV4).</p>",
        _snippets(facts.name, address, example, auth=auth),
        _ERRORS,
    ]
    return "\n".join(part for part in parts if part) + "\n</html>"


def _status(facts: EndpointFacts) -> str:
    status = html.escape(facts.status.value)
    return f'<span class="bad">{status}: {html.escape(facts.failure_reason)}</span>' if facts.failure_reason else status


def _variants(facts: EndpointFacts) -> str:
    rows = [(v.name, f"{v.weight:g}", str(v.instances), v.model_name, v.runtime, v.image) for v in facts.variants]
    return "<h2>Variants</h2>" + _table(("variant", "weight", "instances", "model", "runtime", "image"), rows)


def _takes(signature: ModelSignature) -> str:
    types = "".join(
        f"<p>{what}: {', '.join(f'<code>{html.escape(one)}</code>' for one in given)}</p>"
        for what, given in (("Takes", signature.accepts), ("Answers", signature.answers))
        if given
    )
    columns = signature.columns[:_COLUMNS_SHOWN]
    if not columns:
        return f"<h2>Request</h2>{types}<p>The model does not say what a row is made of.</p>"
    rows = [
        (str(place), column.name or "(by place)", column.kind, "" if column.required else "optional")
        for place, column in enumerate(columns, 1)
    ]
    more = len(signature.columns) - len(columns)
    rest = f"<p>and {more} more</p>" if more else ""
    given = f"<p>{signature.outputs} value{'s' * (signature.outputs != 1)} a row.</p>" if signature.outputs else ""
    return f"<h2>Request</h2>{types}{_table(('place', 'column', 'type', ''), rows)}{rest}{given}"


def _example(example: Example, *, answered: bool) -> str:
    if not answered:
        return ""
    return (
        f"<h2>Example</h2><p class=muted>Answered by the model while it was loaded.</p>"
        f"<p>{html.escape(example.content_type)}</p><pre>{html.escape(example.body)}</pre>"
        f"<p>{html.escape(example.answer_type)}</p><pre>{html.escape(example.answer)}</pre>"
    )


def _form(example: Example, signature: ModelSignature) -> str:
    types = list(dict.fromkeys([example.content_type, *signature.accepts]))
    options = "".join(f"<option>{html.escape(one)}</option>" for one in types)
    return (
        f'<h2>Ask</h2><form id=ask><p><select id=type aria-label="Content-Type">{options}</select> '
        f'<button>Send</button></p><textarea id=body rows=4 aria-label="Body">{html.escape(example.body)}</textarea>'
        f"</form><pre id=said aria-live=polite></pre><script>{_SCRIPT}</script>"
    )


def _snippets(name: str, address: str, example: Example, *, auth: bool) -> str:
    body, kind = example.body, example.content_type
    python = (
        "import boto3\n\n"
        "answer = boto3.client('sagemaker-runtime').invoke_endpoint(\n"
        f"    EndpointName={name!r}, ContentType={kind!r}, Body={body!r})\n"
        "print(answer['Body'].read().decode())"
    )
    signed = ' --aws-sigv4 aws:amz:REGION:sagemaker --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY"' if auth else ""
    shown = {
        "curl": f"curl {address} -H 'Content-Type: {kind}'{signed} --data-binary {shlex.quote(body)}",
        "clary": f"clary invoke {name} --content-type {kind} --data {shlex.quote(body)}",
        'boto3, after eval "$(clary env)"': python,
    }
    return "".join(f"<h2>{html.escape(what)}</h2><pre>{html.escape(text)}</pre>" for what, text in shown.items())


def _made_up(signature: ModelSignature) -> Example:
    """A request of the right shape, for forms and snippets, where the model has answered none."""
    kinds = [column.kind for column in signature.columns]
    content_type = signature.accepts[0] if signature.accepts else CSV
    if content_type == CSV:
        return Example(",".join("text" if kind == "string" else "0" for kind in kinds) or "0,0,0", CSV)
    row = ["text" if kind == "string" else 0 for kind in kinds] or [0, 0, 0]
    return Example(json.dumps([row]), content_type)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = "".join(f"<th>{html.escape(one)}</th>" for one in head)
    lines = "".join("<tr>" + "".join(f"<td>{html.escape(one)}</td>" for one in row) + "</tr>" for row in rows)
    return f"<table><tr>{cells}</tr>{lines}</table>"
