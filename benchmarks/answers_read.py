"""Verdicts of a human reader on the rows where our verdict or answer differs from the published one.

Used by `benchmarks.answers`. The keys are the reasons, the values the row numbers by file: number
"0186" of ``addsub`` is the row ``addsub-0186``. The tables hold no text of the data. All rows with
different verdicts, and all rows with different answers and equal verdicts, were read.
"""

OURS = {
    # The published parser takes the first number of "3/4", or of ".5".
    "ours: fraction": {
        "addsub": "0181 0184 0185 0186 0190 0199 0205 0206 0257",
        "singleeq": "0292 0297 0298 0299 0304 0315 0317 0324 0325",
    },
    # The published parser takes the first number of "3 + 4 = 7".
    "ours: equation": {
        "addsub": "0034 0129",
        "gsm8k_test": "0046 0128 0169 0216 0222 0257 0577 0582 0631",
        "multiarith": "0041 0270 0404",
        "singleeq": "0018 0286 0467 0500 0506",
        "svamp": "302 584 629 706 800",
    },
    # The first number of the equation equals the gold answer; the model's result doesn't.
    "ours: luck": {"addsub": "0383", "svamp": "29 316"},
    # The published parser reads no numbers in words. (One row has Roman numerals after the answer.)
    "ours: words": {
        "addsub": "0061 0123 0320 0323",
        "gsm8k_test": "0050 0073 0170 0208 0224 0230 0504",
        "multiarith": "0151 0153 0175 0487",
        "singleeq": "0212 0221 0401 0471",
        "svamp": "56 152 376 714 916 953 969",
    },
    # The published verdict compares texts: "12.00" with "12", and "5600" with "5,600".
    "ours: spelling": {
        "addsub": "0124 0173",
        "gsm8k_test": "0146 0249",
        "gsm8k_test_gemma_2_2b_it": (
            "0036 0058 0109 0137 0195 0215 0258 0272 0405 0430 0542 0550 0638"
        ),
        "gsm8k_test_phi_4_mini_instruct": "0195 0272 0638",
        "singleeq": "0215 0464",
    },
    # The published verdict compares texts that differ in the sixteenth decimal.
    "ours: rounding": {
        "addsub": "0223 0243 0246 0247 0250",
        "singleeq": "0294 0327 0356 0360 0363 0366",
    },
}

NEITHER = {
    # The output is a calculation over several lines, followed by a sentence with the answer.
    "neither: end": {"gsm8k_test": "0011 0187"},
}


def reading(file: str, row_id: str) -> str:
    """Return which verdict on a row is right and why; an empty text if the row isn't listed.

    Args:
        file: short name of the file.
        row_id: id of the row; the part after the last hyphen is its number.
    """
    number = row_id.rpartition("-")[2]
    for verdict, files in (OURS | NEITHER).items():
        if number in files.get(file, "").split():
            return verdict
    return ""
