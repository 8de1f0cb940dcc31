"""A client that is generated from the OpenAPI document: a method for each operation, requests and answers checked."""

import json
import random
import re

import jsonschema
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

BASE = "urn:document"
ODD = (None, True, 0, -1, 2**63, 1e308, "", "\0", "é" * 300, "../../etc/passwd", "<script>", [], {}, [[]], {"a": {}})
"""Values that a request may hold although the document does not allow them everywhere."""


class Operation:
    """An operation of the document."""

    def __init__(self, document, method, path):
        self.method, self.path, self.about = method, path, document["paths"][path][method]
        self.name = self.about["operationId"]
        content = self.about.get("requestBody", {}).get("content", {})
        self.form, self.body = "multipart/form-data" in content, next(iter(content.values()), {}).get("schema")
        self.parameters = {one["name"]: one for one in self.about.get("parameters", ())}


class DocumentClient:
    """Calls operations by their names: `client.search(sightings=[1])`.

    Args:
        client: An HTTP client.
        document: The OpenAPI document.
    """

    def __init__(self, client, document):
        self.client, self.document = client, document
        resource = Resource(document, DRAFT202012)
        self._registry = Registry().with_resource(BASE, resource)
        self.operations = {
            one.name: one
            for path, methods in document["paths"].items()
            for one in (Operation(document, method, path) for method in methods)
        }

    def check(self, value, schema, request=True):
        """Raise a ValidationError where a value is not as a schema says."""
        whole = json.loads(json.dumps(schema).replace('"#/components', f'"{BASE}#/components'))
        jsonschema.Draft202012Validator(whole, registry=self._registry).validate(value)

    def __getattr__(self, name):
        operation = self.operations.get(name)
        if operation is None:
            raise AttributeError(name)

        def call(headers=None, files=None, **given):
            known = {key: given.pop(key) for key in list(given) if key in operation.parameters}
            for key, value in known.items():
                self.check(value, operation.parameters[key]["schema"])
            missing = [key for key, one in operation.parameters.items() if one.get("required") and key not in known]
            assert not missing, f"{name} needs {missing}"
            if operation.body and not operation.form:
                self.check(given, operation.body)
            else:
                assert operation.form or not given, f"{name} takes no {list(given)}"
            return self.answer(operation, self.send(operation, known, given, headers, files))

        return call

    def send(self, operation, known, body, headers=None, files=None):
        """Send a request without checking it first."""
        path = re.sub(r"\{(\w+)\}", lambda found: str(known[found[1]]), operation.path)
        query = {key: one for key, one in known.items() if operation.parameters[key]["in"] == "query"}
        kind = "data" if operation.form else "json"
        sent = {kind: body} if operation.body else {}
        return self.client.request(operation.method, path, params=query, headers=headers, files=files, **sent)

    def answer(self, operation, response):
        """Return an answer's content; raise where its status or its content is not documented."""
        known = operation.about["responses"]
        assert str(response.status_code) in known, f"{operation.name}: {response.status_code} {response.text[:300]}"
        content = known[str(response.status_code)].get("content", {})
        kind = response.headers.get("content-type", "").partition(";")[0]
        assert not content or kind in content, f"{operation.name}: {kind} is not among {list(content)}"
        if kind.endswith("json"):
            value = response.json()
            self.check(value, content[kind].get("schema", {}))
            return value
        return response.content

    def guess(self, rng, schema, odd):
        """Return a random value for a schema; `odd` is the share of values that it may not allow."""
        if rng.random() < odd:
            return rng.choice(ODD)
        if "$ref" in schema:
            return self.guess(rng, self.document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], odd)
        for key in ("anyOf", "allOf", "oneOf"):
            if key in schema:
                return self.guess(rng, rng.choice(schema[key]), odd)
        if "enum" in schema or "const" in schema:
            return rng.choice(schema.get("enum", [schema.get("const")]))
        make = {
            "integer": lambda: rng.choice((1, 2, 3, schema.get("maximum", 70), rng.randint(-2, 80))),
            "number": lambda: rng.uniform(-10, 1e9),
            "boolean": lambda: rng.random() < 0.5,
            "null": lambda: None,
            "string": lambda: rng.choice(("door", "1", "2026-05-01", "x", "", "camera:door", "yes", "0.5,3")),
            "array": lambda: [self.guess(rng, schema.get("items", {}), odd) for _ in range(rng.randint(0, 3))],
            "object": lambda: self._object(rng, schema, odd),
        }
        return make.get(schema.get("type"), lambda: rng.choice(ODD))()

    def _object(self, rng, schema, odd):
        made = {}
        for key, one in schema.get("properties", {}).items():
            if key in schema.get("required", ()) or rng.random() < 0.4:
                made[key] = self.guess(rng, one, odd)
        more = schema.get("additionalProperties")
        if isinstance(more, dict):
            made |= {str(rng.randint(1, 70)): self.guess(rng, more, odd) for _ in range(2)}
        return made

    def guess_request(self, seed):
        """Return an operation, its parameters and its body at random."""
        rng = random.Random(seed)
        operation = rng.choice(list(self.operations.values()))
        odd = rng.choice((0.0, 0.0, 0.1, 0.5))
        known = {
            key: self.guess(rng, one["schema"], odd)
            for key, one in operation.parameters.items()
            if one["in"] != "header" and (one.get("required") or rng.random() < 0.5)
        }
        return operation, known, self.guess(rng, operation.body or {}, odd)
