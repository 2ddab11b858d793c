"""Config files that are no configs, on every command that reads one."""

import itertools

from tests.badinputs.cases import Case

GOOD = "name: b\nstorage: {folder}/store\nteacher: {kind: reference}\nstudent: {model: 'tiny:0'}\n"
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(8)
)
CONTENTS = [  # content of the file, and words of the refusal
    ("", ["mapping of settings"]),
    ("\n# only a comment\n", ["mapping of settings"]),
    ("- a\n- b\n", ["mapping of settings"]),
    ("just text", ["mapping of settings"]),
    ("42", ["mapping of settings"]),
    ("{}", ["teacher is missing", "student is missing"]),
    (b"\x89PNG\r\n\x1a\n\x00\x00", ["not UTF-8"]),
    ("name: b\n".encode("utf-16"), ["not UTF-8"]),
    ("name: caf\xe9\n".encode("latin-1"), ["not UTF-8"]),
    (b"PK\x03\x04" + b"a" * 100, ["'\\x03'"]),
    (b"name: b\x00\n", ["'\\x00'"]),
    ("x" * (1 << 20) + "y", ["larger than 262,144 bytes"]),
    (GOOD + "name: c\n", ["key 'name' is given twice (lines 1 and 5)"]),
    (GOOD + "schedule: {num_clusters: 2, num_clusters: 3}\n", ["'num_clusters' is given twice"]),
    (GOOD + "schedule:\n  growth: 1\n  growth: 2\n", ["'growth'", "lines 6 and 7"]),
    (GOOD + "seed: 1\nsteps: {split_newlines: true}\nseed: 2\n", ["lines 5 and 7"]),
    ("a: &a [*a]\n", ["inside its own anchor"]),
    ("a: &a\n  b: *a\n", ["inside its own anchor"]),
    (BOMB, ["more than 100000 values"]),
    ("a: " + "[" * 2000, ["nested deeper than 20"]),
    ("a: [1, 2\n", ["not YAML", "line 2"]),
    ("name: b\n\tseed: 1\n", ["not YAML", "line 2"]),
    ("name: 'b\n", ["not YAML"]),
    ("name: b: c\n", ["not YAML", "line 1"]),
    ("name: *missing\n", ["undefined alias"]),
    ("--- {name: a}\n--- {name: b}\n", ["another document"]),
    (GOOD + "seed: !!python/object/apply:os.system ['id']\n", ["line 5", "python/object"]),
    (GOOD + "seed: !secret x\n", ["line 5", "!secret"]),
    (GOOD + "seed: 2024-01-01\n", ["line 5", "'2024-01-01'", "timestamp"]),
    (GOOD + "evaluation: {engine_kwargs: {since: 2024-01-01}}\n", ["line 5", "timestamp"]),
    (GOOD + "evaluation: {engine_kwargs: {names: !!set {a, b}}}\n", ["line 5", "'set'"]),
    (GOOD + "evaluation: {engine_kwargs: {data: !!binary aGk=}}\n", ["'binary'"]),
    (GOOD + "evaluation: {engine_kwargs: {1: a}}\n", ["line 5", "key '1' is not text"]),
    (GOOD + "evaluation: {engine_kwargs: {[a]: b}}\n", ["a key is not text"]),
    (GOOD + "on: true\n", ["line 5", "key 'on' is not text"]),
    (GOOD + "evaluation: {engine_kwargs: {x: .nan}}\n", ["'.nan' is no finite number"]),
    (GOOD + f"seed: {'9' * 5000}\n", ["line 5", "64 bits"]),
    (GOOD + "seed: 010\n", ["'010' begins with 0"]),
    (GOOD + 'steps: "\\ud800"\n', ["\\ud800"]),
    (GOOD + 'weighting: {kind: file, path: "\\0"}\n', ["\\x00"]),
    (GOOD + 'tracking: {project: "\\x1b[31mred"}\n', ["\\x1b"]),
    (GOOD + "base: [nothere.yaml]\n", ["nothere.yaml", "No such file"]),
    (GOOD + "base: 3\n", ["base: expected a file"]),
    (GOOD + "base: config.yaml\n", ["its own base"]),
    (GOOD + "base: {folder}\n", ["Is a directory"]),
    (GOOD + "schedul: {}\n", ["unknown key schedul, did you mean schedule?"]),
    (GOOD + "num_clusters: 4\n", ["unknown key num_clusters, did you mean schedule.num_clusters?"]),
    (GOOD + "schedule: 3\n", ["schedule: ", "got 3"]),
    (GOOD + "questions: {num_train: 5}\n", ["questions.source is missing"]),
    (GOOD.replace("{kind: reference}", "{kind: oracle}"), ["teacher.kind: expected", "'oracle'"]),
    (GOOD.replace("{kind: reference}", "[]"), ["teacher", "got []"]),
    (GOOD.replace("name: b", "name: a/b"), ["name: ", "'a/b'"]),
    (GOOD.replace("name: b", "name: ''"), ["name: "]),
    (GOOD.replace("name: b", f"name: {'n' * 101}"), ["name: ", "at most 100"]),
    (GOOD.replace("name: b", "name: 7"), ["name: ", "string", "got 7"]),
    (GOOD.replace("name: b", "name: no"), ["name: expected no boolean", "quotes"]),
    (GOOD.replace("{folder}/store", "''"), ["storage: the text is empty"]),
    (GOOD.replace("{folder}/store", "[]"), ["storage: "]),
]
COMMANDS = [
    ("run",),
    ("compare",),
    ("sweep",),
    ("show",),
    ("show", "questions"),
    ("show", "rationales"),
    ("show", "schedule"),
    ("export",),
    ("sync",),
    ("dashboard",),
    ("doctor",),
]


def arguments(command, *table):
    out = ("{folder}/out.jsonl",) if command == "export" else ()
    return (command, "{folder}/config.yaml", *out, *table)


CASES = [
    Case("config file", arguments(*command), tuple(words), {"config.yaml": content})
    for (content, words), command in zip(CONTENTS, itertools.cycle(COMMANDS), strict=False)
]
CASES += [
    Case("no config file", arguments(*command), ("config.yaml", "No such file"))
    for command in COMMANDS
]
CASES += [
    Case("a folder as config", (command, "{folder}"), ("Is a directory", "give a YAML file"))
    for command in ("run", "compare", "sweep", "dashboard")
]
CASES += [
    Case("a device as config", (command, "/dev/zero"), ("larger than",))
    for command in ("run", "show", "doctor")
]
