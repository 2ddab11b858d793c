"""Comparisons and sweeps that could not come to an end."""

from tests.badinputs.cases import SWEEP, Case, on

ARMS = "comparison.arms=[uniform, a]"
CASES = [
    Case(
        "comparison",
        on("compare", ARMS, f"comparison.custom_arms={{a: {{overrides: {{{override}}}}}}}"),
        ("arm a: ", *words),
    )
    for override, words in [
        ("student.learning_rate: -1", ["student.learning_rate", "greater than 0"]),
        ("student.learning_rate: .5e-3x", ["student.learning_rate", "number"]),
        ("schedule.full_stage: 9", ["full_stage is larger than num_stages"]),
        ("schedule.ordr: none", ["schedule.ordr, did you mean schedule.order?"]),
        ("student: 3", ["student: "]),
        ("weighting: {kind: file, path: /nowhere.jsonl}", ["/nowhere.jsonl doesn't exist"]),
        ("weighting: {predictor: packaged:gone}", ["packaged:gone"]),
        ("schedule.embedding: /nowhere/vectors.txt", ["/nowhere/vectors.txt doesn't exist"]),
    ]
]
CASES += [
    Case("validation set", on(command, *overrides), (word,))
    for command, overrides, word in [
        (
            "run",
            ["student={validation_fraction: 0.001, exported_student: best}"],
            "none of 12 training questions falls into the validation set",
        ),
        (
            "compare",
            ["student={validation_fraction: 0.001, accuracy_every_stages: 1}"],
            "raise student.validation_fraction",
        ),
        (
            "run",
            ["student.validation_fraction=0.9999"],
            "all 12 training questions fall into the validation set",
        ),
    ]
]
CASES += [
    Case("sweep", on("sweep", "sweep.space=null", *overrides, config=SWEEP), tuple(words))
    for overrides, words in [
        (["sweep.space={}"], ["sweep.space is empty"]),
        (["sweep.space={schedule.num_clusters: {uniform: [2, 8]}}"], ["use randint"]),
        (["sweep.space={schedule.num_stages: {loguniform: [2, 8]}}"], ["use randint"]),
        (["sweep.space={schedule.gowth: {choice: [1]}}"], ["did you mean schedule.growth?"]),
        (["sweep.space={schedule.growth: {choice: [a]}}"], ["schedule.growth: ", "'a'"]),
        (["sweep.space={schedule.growth: {choice: [1, -1]}}"], ["schedule.growth: ", "-1"]),
        (["sweep.space={student.kernels: {uniform: [0, 1]}}"], ["student.kernels: "]),
        (["sweep.space={student: {choice: [1]}}"], ["sweep.space: student: "]),
        (["sweep.space={schedule: {choice: [null]}}"], ["sweep.space: schedule: "]),
        (
            [
                "sweep.space={schedule.num_stages: {randint: [4, 8]}, "
                "schedule.full_stage: {randint: [2, 8]}}"
            ],
            ["schedule.num_stages=4 schedule.full_stage=8", "full_stage is larger"],
        ),
        (["sweep.space={student.warmup: {choice: [0.1]}}", "name=" + "n" * 98], ["name: "]),
        (
            ["sweep.space={student.warmup: {choice: [0.1]}}", "student.validation_fraction=0"],
            ["set student.validation_fraction"],
        ),
        (
            [
                "sweep.space={student.warmup: {choice: [0.1]}}",
                "sweep.objective=validation_accuracy",
            ],
            ["set student.accuracy_every_stages"],
        ),
        (["sweep.space={student.warmup: {uniform: [0, 0.5]}}", "sweep.search=grid"], ["grid"]),
        (
            ["sweep.space={student.learning_rate: {choice: ['1e-3', 1e-3]}}"],
            ["student.learning_rate: 0.001 means the same as another choice"],
        ),
        (["sweep.space={'': {choice: [1]}}"], ["unknown key ''"]),
        (["sweep.space={student.lora.rank: {choice: [1, 2]}}"], ["lora is a value, not a group"]),
        (
            ["sweep.space={student.warmup: {choice: [0.1]}}", "student.validation_fraction=0.001"],
            ["none of 12 training questions falls into the validation set"],
        ),
        (["sweep.space={student.model: {choice: ['tiny:1', /nowhere/m]}}"], ["/nowhere/m"]),
        (["sweep.space={student.model: {choice: ['tiny:1', 'tiny:x']}}"], ["tiny:x"]),
    ]
]
