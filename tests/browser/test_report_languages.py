"""Reports in two languages: the same strings, and a record's own words, which are English, in the reader's."""

import html
import re
import string
from pathlib import Path

from drawn_runs import make_run

from seedwise.records.run import PassedOverRecord, read_record, write_record
from seedwise.reports import LANGUAGES, render
from seedwise.reports.words import Words


def test_both_languages_say_the_same_things() -> None:
    tables = [Words(language).table for language in LANGUAGES]
    assert not any(key.startswith("known.") for key in tables[0])  # a record's own words are English
    tables = [{key: said for key, said in table.items() if not key.startswith("known.")} for table in tables]
    assert all(table.keys() == tables[0].keys() for table in tables)
    for key in tables[0]:
        fields = [{name for _, name, _, _ in string.Formatter().parse(table[key]) if name} for table in tables]
        assert fields[0] == fields[1], key


def test_words_of_a_record_are_korean_where_there_are_any() -> None:
    words = Words("ko")
    said = words.known("new head for 10 classes, the weights have 1000 classes")
    assert said == "클래스 10개용 새 헤드(가중치의 클래스는 1000개)"
    assert words.known("loss added") == "더해진 손실" and words.known("drop path") == "drop path"
    assert words.known("block 12") == "블록 12" and Words("en").known("loss added") == "loss added"
    said = words.known("18 of 1,054 test images are in train too, equal in every pixel (test/{0}.JPG, train/0.JPG)")
    assert (
        said
        == "테스트 이미지 1,054장 가운데 18장이 학습 데이터에도 있습니다(모든 픽셀이 같음: test/{0}.JPG, train/0.JPG)"
    )


def _doubts_of_the_page_on_data() -> set[str]:
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    found = re.findall(r"^(?:# )?doubt: (.*(?:\n(?:# )?  \S.*)*)", page, re.M)
    return {re.sub(r"\n(?:# )?  ", " ", doubt) for doubt in found}


QUANTITIES = (
    "shift, sigma, lambda, area, degrees, brightness, contrast, saturation, hue, rate, blocks, views, folded norms"
)
DOUBTS = [
    "3 pictures stand under two labels (a/1.png, b/1.png)",
    "1 of 9 val images is in train too, equal in every pixel (val/1.png, train/1.png)",
    "2 images have values that are no numbers, which count as black (1.tif)",
    "1 file holds several pictures; the first of each is used (1.gif)",
    "all images are nearly black: no pixel is brighter than 31 of 255: data.pixel_range says what is white",
    "2 damaged images are left out (1.png, 2.png)",
    "data.pixel_range is [0, 255], and no image has more than 8 bits: it does nothing",
    "data.split_column does nothing for a folder of images",
    "data.split_column, data.image_folder do nothing for a table of my own",
    "column 'label' is taken for the labels, and not 'class'",
    "12 classes for 20 images: is column 'kind' the labels?",
    "3 rows named before: a.png (d.csv:3), b.png (d.csv:4) and 1 more",
    "no image is held out, neither for validation nor for test: only the training images are scored",
]


def test_every_doubt_and_every_measured_quantity_is_korean() -> None:
    words, page = Words("ko"), _doubts_of_the_page_on_data()
    assert len(page) > 9
    for doubt in [*page, *DOUBTS, *QUANTITIES.split(", ")]:
        assert re.search("[가-힣]", words.known(doubt)), doubt
        assert Words("en").known(doubt) == doubt


def test_a_korean_page_shows_doubts_and_what_is_passed_over_in_korean(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    record = read_record(tmp_path / "run")
    record.data.doubts = DOUBTS[:1]
    record.data.passed_over = [PassedOverRecord(kind="images", reason="damaged", count=2, examples=["a.png"])]
    write_record(tmp_path / "run", record)
    page = html.unescape(render(tmp_path / "run", "ko"))
    assert page.count("그림 3개에 레이블이 둘입니다(a/1.png, b/1.png)") == 2 and "pictures stand" not in page
    assert "이미지 2개 (손상됨)" in page and "매개변수" not in page
