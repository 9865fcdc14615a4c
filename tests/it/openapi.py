"""Checks answers against /openapi.json. Reads lines of {"path", "method", "status", "body"}; says what does not fit."""
import json
import sys

import jsonschema

api = json.load(open(sys.argv[1]))
seen, wrong = set(), 0
for line in sys.stdin:
    answer = json.loads(line)
    where = f"{answer['method']} {answer['path']} {answer['status']}"
    try:
        response = api["paths"][answer["path"]][answer["method"].lower()]["responses"][str(answer["status"])]
        seen.add((answer["path"], answer["method"].lower(), str(answer["status"])))
        content = response.get("content")
        if content is None:
            assert answer["body"] is None, "there is a body"
            continue
        (schema,) = content.values()
        jsonschema.Draft202012Validator({**schema["schema"], "components": api["components"]}).validate(answer["body"])
    except (KeyError, AssertionError, jsonschema.ValidationError) as error:
        wrong += 1
        print(f"{where}: {error!r}"[:2000])
for path, methods in api["paths"].items():
    for method, operation in methods.items():
        for status in operation["responses"]:
            if (path, method, status) not in seen and status != "503":
                wrong += 1
                print(f"nobody was answered {method} {path} {status}")
sys.exit(1 if wrong else 0)
