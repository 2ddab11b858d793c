"""The settings that a config can't do without."""

MINIMAL = {
    "name": "a",
    "teacher": {"kind": "file", "path": "r.jsonl"},
    "student": {"model": "tiny:0"},
}
MINIMAL_TEXT = "name: a\nteacher: {kind: file, path: r.jsonl}\nstudent: {model: 'tiny:0'}\n"
TEACHER = {"kind": "vllm", "model": "tiny:0"}
