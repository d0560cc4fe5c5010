"""The test set holds what its card promises, and the card's tables are counted from the file."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from evaluation.prepare import MASK
from tables.rows import Row
from tables.table import open_table

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "evaluation/test_set"
DATA = FOLDER / "cloze.jsonl"
CARD = (FOLDER / "README.md").read_text(encoding="utf-8")
ROWS: list[dict[str, str]] = [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines()]
TEXTS = [row["input_string"] for row in ROWS]
TITLES = [row["title"] for row in ROWS]
THIRDS = ("beginning", "middle", "end")


def words(text: str) -> int:
    return len(text.split())


def third(text: str) -> str:
    """Return where the mask stands: the place of its word, from 0, in thirds of the number of words."""
    (place,) = (number for number, word in enumerate(text.split()) if MASK in word)
    return THIRDS[3 * place // words(text)]


def table(first: str) -> dict[str, list[str]]:
    """Return the card's table whose first column is called `first`: the other cells of each line by its first."""
    found = re.search(rf"(?m)^ *\| {re.escape(first)} \|.*\n *\|[-| :]+\|\n((?: *\|.*\n)+)", CARD)
    assert found is not None, f"the card has no table of {first}"
    lines = [[cell.strip() for cell in line.strip(" |").split("|")] for line in found[1].splitlines()]
    return {line[0]: line[1:] for line in lines}


# The file


def test_rows_are_objects_of_text_title_and_domain() -> None:
    assert [row for row in ROWS if list(row) != ["input_string", "title", "domain"]] == []
    assert [row for row in ROWS if any(value != " ".join(value.split()) or not value for value in row.values())] == []


def test_the_evaluation_reads_every_row() -> None:
    rows = list(open_table(FOLDER).rows(["input_string", "title"]))
    assert all(isinstance(row, Row) for row in rows)
    assert [tuple(row.values.values()) for row in rows] == list(zip(TEXTS, TITLES, strict=True))


def test_a_text_has_one_mask_that_stands_alone() -> None:
    odd = [text for text in TEXTS if text.count(MASK) != 1 or re.search(r"\w\[MASK\]|\[MASK\][\w'-]", text)]
    assert odd == []


def test_a_title_is_one_word_that_stands_nowhere_else_in_its_text() -> None:
    assert [title for title in TITLES if not re.fullmatch("[A-Za-z]+", title)] == []
    others = [re.findall(r"[a-z]+", text.replace(MASK, " ").lower()) for text in TEXTS]
    assert [title for title, other in zip(TITLES, others, strict=True) if title.lower() in other] == []


def test_a_title_has_a_capital_letter_where_it_starts_the_text() -> None:
    starts = [title for title, text in zip(TITLES, TEXTS, strict=True) if text.startswith(MASK)]
    assert len(starts) >= 5
    assert [title for title in starts if not title[0].isupper()] == []


def test_no_text_comes_twice_and_no_title_three_times() -> None:
    letters = Counter(
        re.sub(r"\W+", " ", text.replace(MASK, title).lower()) for text, title in zip(TEXTS, TITLES, strict=True)
    )
    assert [text for text, times in letters.items() if times > 1] == []
    titles = Counter(title.lower() for title in TITLES)
    assert [title for title, times in titles.items() if times > 2] == []


def test_rows_are_enough_and_spread_evenly_over_domains() -> None:
    domains = Counter(row["domain"] for row in ROWS)
    assert len(ROWS) >= 200
    assert len(domains) >= 10
    assert max(domains.values()) <= 1.2 * min(domains.values())


def test_each_third_of_the_sentence_has_a_fifth_of_the_masks() -> None:
    places = Counter(map(third, TEXTS))
    assert min(places[name] for name in THIRDS) >= len(ROWS) / 5


def test_texts_have_5_to_40_words() -> None:
    assert [text for text in TEXTS if not 5 <= words(text) <= 40] == []


# The card


def test_card_counts_rows_by_domain_and_third() -> None:
    counted = Counter((row["domain"], third(row["input_string"])) for row in ROWS)
    rows = Counter(row["domain"] for row in ROWS)
    expected = {domain: [str(rows[domain]), *(str(counted[domain, name]) for name in THIRDS)] for domain in rows}
    places = Counter(map(third, TEXTS))
    expected["all"] = [str(len(ROWS)), *(str(places[name]) for name in THIRDS)]
    assert table("domain") == expected


def test_card_counts_rows_by_words() -> None:
    lengths = [words(text) for text in TEXTS]
    bands = {name: [int(end) for end in name.split(" to ")] for name in table("words")}
    counted = {name: [str(sum(low <= n <= high for n in lengths))] for name, (low, high) in bands.items()}
    assert table("words") == counted
    assert sum(int(rows) for (rows,) in counted.values()) == len(ROWS)


def test_card_counts_titles() -> None:
    tokenizer = Tokenizer.from_file(str(ROOT / "model/embedded/tokenizer.json"))
    split = [title for title in TITLES if len(tokenizer.encode(title, add_special_tokens=False).ids) > 1]
    capital = [title for title in TITLES if title[0].isupper()]
    assert len(capital) >= 15
    assert len(split) >= len(ROWS) / 10
    assert table("titles") == {
        "different words, case aside": [str(len({title.lower() for title in TITLES}))],
        "with a capital letter": [str(len(capital))],
        "of several pieces to `model/embedded`": [str(len(split))],
    }


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_card_gives_the_wilson_interval_at_this_size(share: float) -> None:
    rows, z = len(ROWS), 1.959964
    middle = (share + z * z / 2 / rows) / (1 + z * z / rows)
    half = z * math.sqrt(share * (1 - share) / rows + (z / 2 / rows) ** 2) / (1 + z * z / rows)
    assert table("accuracy found")[f"{share:.0%}"] == [f"{middle - half:.1%} to {middle + half:.1%}"]
