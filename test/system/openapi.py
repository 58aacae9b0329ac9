"""etc/openapi.json as a judge: every answer that a test sees is held against it."""
import functools
import json
import pathlib
import re
import urllib.parse

import jsonschema

DOCUMENT = json.loads((pathlib.Path(__file__).resolve().parents[2] / "etc/openapi.json").read_text())
RESOLVER = jsonschema.RefResolver.from_schema(DOCUMENT)
# Of a long list so many items from either end are looked at.
SAMPLE = 20


def routes():
    return {f"{method.upper()} {path}" for path, item in DOCUMENT["paths"].items() for method in item}


@functools.cache
def patterns():
    """(pattern, literal segments, path): as the program does, a literal segment wins over braces."""
    found = []
    for path in DOCUMENT["paths"]:
        parts = [("[^/]+", 0) if part.startswith("{") else (re.escape(part), 1) for part in path.split("/")]
        found.append((re.compile("/".join(part for part, _ in parts)), [literal for _, literal in parts], path))
    return sorted(found, key=lambda entry: entry[1], reverse=True)


def path_of(path):
    return next((template for pattern, _, template in patterns() if pattern.fullmatch(path)), None)


@functools.cache
def content(path, method, status):
    """{media type: validator} of an answer; None: it is not in the document."""
    operations = DOCUMENT["paths"][path]
    served = method.lower().replace("head", "get") in operations
    answers = operations[method.lower().replace("head", "get") if served else next(iter(operations))]["responses"]
    answer = answers.get(str(status)) or answers.get(f"{status // 100}XX")
    if answer is None or (not served and status < 400):
        return None
    if "$ref" in answer:
        answer = RESOLVER.resolve(answer["$ref"])[1]
    return {kind: jsonschema.Draft202012Validator(media["schema"], resolver=RESOLVER)
            for kind, media in answer.get("content", {}).items()}


def sampled(value):
    if isinstance(value, list) and len(value) > 2 * SAMPLE:
        return [sampled(item) for item in value[:SAMPLE] + value[-SAMPLE:]]
    if isinstance(value, dict):
        return {key: sampled(item) for key, item in value.items()}
    return value


def check(method, url, answer):
    """Fails unless the answer (of requests) is one that the document allows."""
    path = path_of(urllib.parse.urlsplit(url).path)
    where = f"{method} {url} -> {answer.status_code}"
    if path is None:
        assert answer.status_code == 404, f"{where}: no such path in etc/openapi.json"
        return
    kinds = content(path, method, answer.status_code)
    assert kinds is not None, f"{where}: no such answer in etc/openapi.json"
    kind = answer.headers.get("Content-Type", "").partition(";")[0]
    assert kind in kinds or (not kinds and not kind), f"{where}: {kind!r} is none of {list(kinds)}"
    if kind.endswith("json") and method != "HEAD":
        error = jsonschema.exceptions.best_match(kinds[kind].iter_errors(sampled(answer.json())))
        assert error is None, f"{where}: /{'/'.join(map(str, error.absolute_path))}: {error.message}"
