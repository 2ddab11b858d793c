"""Storages, models, runs and files that aren't where, or what, they should be."""

from tests.badinputs.cases import SMOKE, Case, on

LONG = "/tmp/" + "n" * 300
CASES = [
    Case("storage", (command, SMOKE, f"storage={storage}"), tuple(words), {"file": "x"})
    for command, storage, words in [
        ("run", "{folder}/file", ["{folder}/file", "Not a directory"]),
        ("run", "{folder}/file/store", ["can't be written"]),
        ("compare", "{folder}/file/a/b", ["can't be written"]),
        ("sweep", "{folder}/file", ["sweep.space is empty"]),
        ("run", LONG, ["name too long"]),
        ("run", "~nobody-here/store", ["~nobody-here", "home directory"]),
        ("show", "~nobody-here/store", ["~nobody-here"]),
        ("run", "/proc/store", ["can't be written"]),
        ("run", "s3:///x", ["storage s3:///x can't be opened"]),
        ("run", "ftp://host/x", ["storage ftp://host/x can't be opened"]),
        ("show", "abc://x", ["abc://x can't be opened"]),
        ("run", "s3://key:secret@bucket/x", ["a key in it"]),
        ("sync", "s3://key:secret@bucket/x", ["a key in it"]),
    ]
]
CASES += [
    Case("model", on(command, override), tuple(words), {"model/a.txt": "", "file": ""})
    for command, override, words in [
        ("run", "student.model=/nowhere/model", ["/nowhere/model", "no such model folder"]),
        ("run", "student.model={folder}/model", ["no such model folder"]),
        ("run", "student.model={folder}/file", ["name the folder"]),
        ("run", "student.model=gpt2", ["model gpt2: no such model folder"]),
        ("run", "student.model=nobody/nothing", ["nobody/nothing", "hub"]),
        ("compare", "student.model='a b/c d'", ["a b/c d"]),
        ("run", "student.model=packaged:nothing", ["packaged:nothing", "known are"]),
        ("run", "student.model='tiny:'", ["tiny:", "whole number"]),
        ("compare", "student.model='tiny:-1'", ["whole number"]),
        ("run", "student.model=~nobody-here/model", ["~nobody-here"]),
        ("run", "student.model=" + LONG, ["name too long"]),
        ("run", "student.model='[red]x[/red]'", ["model [red]x[/red]: "]),
        ("run", "student.model=':smile:'", ["model :smile:: no such"]),
        ("run", "student.model=ftp://h/m", ["ftp://h/m"]),
        ("run", "student.model=s3://k:s@bucket/m", ["a key in it"]),
        ("run", "student.model=tiny-t5:1", ["evaluation.backend=transformers"]),
        ("run", "teacher.model=/nowhere", ["/nowhere", "no such model folder"]),
        ("compare", "teacher.model=tiny-t5:0", ["vLLM takes no encoder-decoder"]),
        ("run", "teacher.engine_kwargs.max_modl_len=9", ["teacher.engine_kwargs.max_model_len?"]),
        ("compare", "evaluation.engine_kwargs.zzz=1", ["evaluation.engine_kwargs: vLLM has no"]),
        ("run", "weighting.predictor=/nowhere", ["/nowhere"]),
        ("run", "schedule.embedding=/nowhere.txt", ["/nowhere.txt doesn't exist"]),
        ("run", "schedule.embedding={folder}/model/", ["no such model folder"]),
        ("run", "questions={source: file, path: /nowhere.jsonl}", ["/nowhere.jsonl doesn't"]),
        ("run", "questions={source: file, path: '{folder}'}", ["is a folder"]),
        ("run", "questions={source: file, path: '~nobody-here/a.jsonl'}", ["~nobody-here"]),
        ("run", "questions={source: file, path: " + LONG + ".jsonl}", ["name too long"]),
        ("run", "questions.num_train=200000", ["200004 arithmetic questions"]),
        ("run", "questions.num_test=0", ["no test question"]),
        ("compare", "questions.num_test=0", ["no test question"]),
        ("run", "teacher={kind: file, path: /nowhere.jsonl}", ["/nowhere.jsonl doesn't exist"]),
        ("run", "teacher={kind: file, path: '{folder}'}", ["is a folder"]),
        ("run", "weighting={kind: file, path: /nowhere.jsonl}", ["/nowhere.jsonl doesn't exist"]),
    ]
]
CASES += [
    Case("run", arguments, tuple(words), {"folder/a.txt": "", "file.jsonl": ""})
    for arguments, words in [
        (("show", "{folder}/folder"), ["holds no run"]),
        (("show", "{folder}/folder", "questions"), ["holds no run"]),
        (("show", "{folder}/folder", "seed=1"), ["settings of a folder can't be changed"]),
        (("show", "/nowhere"), ["No such file"]),
        (("show", "~nobody-here/run"), ["~nobody-here"]),
        (("show", LONG), ["name too long"]),
        (("show", "abc://bucket/runs/x"), ["abc://bucket/runs/x can't be read"]),
        (("show", "s3://k:s@bucket/runs/x"), ["a key in it"]),
        (("show", SMOKE, "storage={folder}/store", "rationales"), ["phase teacher isn't finished"]),
        (
            ("show", SMOKE, "storage={folder}/store", "questions"),
            ["phase questions isn't finished"],
        ),
        (("show", SMOKE, "storage={folder}/store", "schedule"), ["isn't finished"]),
        (("show", "{folder}/a [red]b[/red]\x1b[31m.yaml"), ["a [red]b[/red]\u241b[31m.yaml"]),
        (("show", "{folder}/line\nbreak.yaml"), ["break.yaml"]),
        (("export", "/nowhere", "{folder}/out.jsonl"), ["No such file"]),
        (("export", "{folder}/folder", "{folder}/out.jsonl"), ["holds no run"]),
        (("export", SMOKE, "{folder}/out.jsonl", "storage={folder}/store"), ["isn't finished"]),
        (("export", SMOKE, "{folder}/out.csv", "storage={folder}/store"), ["ends in .jsonl"]),
        (("export", SMOKE, "{folder}/no/out.jsonl", "storage={folder}/store"), ["doesn't exist"]),
        (("export", SMOKE, "{folder}/folder", "storage={folder}/store"), ["ends in .jsonl"]),
        (("export", SMOKE, "s3://b/o.jsonl", "storage={folder}/store"), ["ends in .jsonl"]),
        (("export", SMOKE, "~nobody-here/o.jsonl", "storage={folder}/store"), ["~nobody-here"]),
        (("export", SMOKE, "{folder}/o.jsonl", "--format", "csv"), ["unknown format 'csv'"]),
        (("sync", "/nowhere"), ["No such file"]),
        (("sync", "{folder}/folder"), ["holds no W&B files"]),
        (("sync", "{folder}/folder", "seed=1"), ["is a folder"]),
        (("sync", "~nobody-here/run"), ["~nobody-here"]),
        (("sync", SMOKE, "storage={folder}/store"), ["holds no W&B files"]),
        (("doctor", "/nowhere"), ["No such file"]),
        (("doctor", "~nobody-here/c.yaml"), ["No such file"]),
    ]
]
