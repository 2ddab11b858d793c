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
    # The output announces several numbers: "29 bananas and 0.66 oranges" of which the first is the gold
    # answer, and "4 hours and 30 minutes" for 4.
    "ours: several": {"gsm8k_test": "0277", "singleeq": "0444", "svamp": "766"},
    # The published parser takes the mark of a list's first item, and the 6 of "After 6 days, ...".
    "ours: first": {"gsm8k_test": "0268", "svamp": "486"},
    # The published verdict compares texts that differ in the sixteenth decimal.
    "ours: rounding": {
        "addsub": "0223 0243 0246 0247 0250",
        "singleeq": "0294 0327 0356 0360 0363 0366",
    },
}

NEITHER = {
    # The output is a calculation over several lines, followed by a sentence with the answer.
    "neither: end": {"gsm8k_test": "0011 0187"},
    # The output is "70%", the gold answer 0.7.
    "neither: percent": {"singleeq": "0307 0318"},
    # The output ends with the unfinished sum "7 + 4"; the gold answer is 7.
    "neither: sum": {"svamp": "130"},
}

MATH_VERIFY = {
    # math-verify reads no numbers in words, and takes an earlier number.
    "ours: words": {"addsub": "0123 0316", "gsm8k_test": "0073 0230 0504"},
    # math-verify takes the number before the result of "6 - 3 = 3", or of "8 buses ... equals 360".
    "ours: equation": {
        "addsub": "0129",
        "multiarith": "0231 0404",
        "singleeq": "0467",
        "svamp": "302 584 800",
    },
    # math-verify takes the last of several announced numbers, or the first.
    "ours: several": {"gsm8k_test": "0277", "svamp": "766"},
    # "250 minutes left if this month has 30 days", and "1 dollar and 22 cents".
    "ours: first": {"gsm8k_test": "0243", "singleeq": "0212"},
    "math-verify: end": {"gsm8k_test": "0011 0187"},
    "math-verify: percent": {"singleeq": "0307 0318"},
    "math-verify: sum": {"svamp": "130"},
}
"""Which of our verdict and that of math-verify is right, and why, for every row where the two differ."""


def reading(file: str, row_id: str) -> str:
    """Return which verdict on a row is right and why; an empty text if the row isn't listed.

    Args:
        file: short name of the file.
        row_id: id of the row; the part after the last hyphen is its number.
    """
    return _find(OURS | NEITHER, file, row_id)


def math_verify_reading(file: str, row_id: str) -> str:
    """Return which of our and math-verify's verdict is right; an empty text for an unlisted row."""
    return _find(MATH_VERIFY, file, row_id)


def _find(readings: dict[str, dict[str, str]], file: str, row_id: str) -> str:
    number = row_id.rpartition("-")[2]
    return next((v for v, files in readings.items() if number in files.get(file, "").split()), "")
