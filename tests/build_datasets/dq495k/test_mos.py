"""Tables of opinion scores in the published layouts; the values are made up."""

import numpy as np
import pytest
from scipy.io import savemat

from build_datasets.dq495k.mos import LAYOUTS, Score, layout_of, read_scores
from depictqa.errors import InputError

TABLES = {  # layout -> (text of its table, scores)
    "csv": (
        "image,reference,mos\na.png,r.png,3.5\nb.png,r.png,2\nc.png,r.png,4\nd.png,s.png,1.5\ne.png,s.png,0\n",
        [Score("a.png", "r.png", 3.5), Score("b.png", "r.png", 2), Score("c.png", "r.png", 4),
         Score("d.png", "s.png", 1.5), Score("e.png", "s.png", 0)],
    ),
    "kadid10k": (
        "dist_img,ref_img,dmos,var\n" + "".join(f"I01_01_0{n}.png,I01.png,{5 - n / 2},0.49\n" for n in range(1, 6)),
        [Score(f"I01_01_0{n}.png", "I01.png", 5 - n / 2, 0.7) for n in range(1, 6)],
    ),
    "tid2013": (
        "".join(f"{6 - n}.51429 i0{n}_01_{n}.bmp\n" for n in range(1, 6)),
        [Score(f"i0{n}_01_{n}.bmp", f"I0{n}.BMP", 6.51429 - n) for n in range(1, 6)],
    ),
    "csiq": (
        "image,dst_idx,dst_type,dst_lev,dmos_std,dmos\n"
        "1600,1,noise,1,0.1,0.06\n1600,2,jpeg,2,0.1,0.2\n1600,3,jpeg 2000,3,0.1,0.25\n"
        "snow,4,fnoise,4,0.1,0.6\nsnow,5,blur,5,0.1,0.9\n",
        [Score("awgn/1600.AWGN.1.png", "1600.png", -0.06, 0.1), Score("jpeg/1600.JPEG.2.png", "1600.png", -0.2, 0.1),
         Score("jpeg2000/1600.jpeg2000.3.png", "1600.png", -0.25, 0.1), Score("fnoise/snow.fnoise.4.png", "snow.png", -0.6, 0.1),
         Score("blur/snow.BLUR.5.png", "snow.png", -0.9, 0.1)],
    ),
    "pipal": (
        "".join(f"A0001_00_0{n}.bmp,{1500 - n}.25\n" for n in range(5)),
        [Score(f"A0001_00_0{n}.bmp", "A0001.bmp", 1500.25 - n) for n in range(5)],
    ),
    "koniq": (
        "image_name,c1,c2,c3,c4,c5,c_total,MOS,SD,MOS_zscore\n"
        + "".join(f"82637{n}.jpg,0,0,25,73,7,105,{3 + n / 10},0.5,70\n" for n in range(5)),
        [Score(f"82637{n}.jpg", None, 3 + n / 10, 0.5) for n in range(5)],
    ),
    "spaq": (
        "Image name,MOS,Brightness,Colorfulness\n" + "".join(f"0000{n}.jpg,{38.5 + n},40,50\n" for n in range(5)),
        [Score(f"0000{n}.jpg", None, 38.5 + n) for n in range(5)],
    ),
    "agiqa3k": (
        "name,prompt,adj1,adj2,style,mos_quality,std_quality,mos_align,std_align\n"
        + "".join(f'AttnGAN_normal_00{n}.jpg,"a cat, asleep",,,,{n / 2 + 1},0.3,0.9,0.1\n' for n in range(5)),
        [Score(f"AttnGAN_normal_00{n}.jpg", None, n / 2 + 1, 0.3) for n in range(5)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_text_tables(name, tmp_path):
    text, expected = TABLES[name]
    (tmp_path / "table.csv").write_text(text)
    scores = read_scores(tmp_path / "table.csv", LAYOUTS[name])
    assert [(score.image, score.reference) for score in scores] == [(one.image, one.reference) for one in expected]
    for score, one in zip(scores, expected, strict=True):
        assert score.mos == pytest.approx(one.mos) and score.std == pytest.approx(one.std)


def test_single_votes_give_mean_and_deviation(tmp_path):
    """1, 2 and 3 deviate from 2 by a sample variance of 1; nothing is known of the spread from one vote."""
    (tmp_path / "t.csv").write_text("image,votes\na.png,1 2 3\nb.png,4\n")
    assert read_scores(tmp_path / "t.csv", layout_of("csv", tmp_path / "t.csv")) == [
        Score("a.png", None, 2.0, 1.0),
        Score("b.png", None, 4.0, None),
    ]


def test_live_in_the_wild_is_three_matlab_files(tmp_path):
    names = np.empty((12, 1), dtype=object)
    names[:, 0] = [f"t{n}.bmp" for n in range(1, 8)] + [f"{n}.bmp" for n in range(3, 8)]
    scores, deviations = [[50.0] * 7 + [60.5, 61.5, 62.5, 63.5, 64.5]], [[18.5] * 12]
    for what, values in (("Images", names), ("MOS", scores), ("StdDev", deviations)):
        savemat(tmp_path / f"All{what}_release.mat", {f"All{what}_release": values})
    expected = [
        Score(f"{n}.bmp", None, 57.5 + n, 18.5) for n in range(3, 8)
    ]  # the raters' training images are left out
    assert read_scores(tmp_path, LAYOUTS["live_wild"]) == expected
    assert read_scores(tmp_path / "AllMOS_release.mat", LAYOUTS["live_wild"]) == expected
    (tmp_path / "AllImages_release.mat").unlink()
    with pytest.raises(
        InputError,
        match="AllMOS_release.mat: expected AllImages_release.mat, AllMOS_release.mat and AllStdDev_release.mat",
    ):
        read_scores(tmp_path, LAYOUTS["live_wild"])


def test_every_layout_has_a_sample():
    assert TABLES.keys() | {"live_wild"} == LAYOUTS.keys()


def test_the_published_file_is_found_in_its_folder(tmp_path):
    for name in ("kadid10k", "tid2013", "koniq", "agiqa3k"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / LAYOUTS[name].file).write_text(TABLES[name][0])
        (folder / "another.txt").write_text("no table")
        assert len(read_scores(folder, LAYOUTS[name])) == 5


def test_a_folder_of_tables_is_one_table(tmp_path):
    (tmp_path / "Train_Label").mkdir()
    for name in ("A0001", "A0002"):
        (tmp_path / "Train_Label" / f"{name}.txt").write_text(f"{name}_00_00.bmp,1500\n{name}_00_01.bmp,1400.5\n")
    for folder in (tmp_path, tmp_path / "Train_Label"):
        assert {score.reference for score in read_scores(folder, LAYOUTS["pipal"])} == {"A0001.bmp", "A0002.bmp"}


@pytest.mark.parametrize("kind", ["AWGN", "BLUR", "contrast", "fnoise", "JPEG", "jpeg 2000"])
def test_csiq_spells_its_files_in_its_own_way(kind, tmp_path):
    (tmp_path / "t.csv").write_text(f"image,dst_type,dst_lev,dmos\nsnow,{kind},1,0\n")
    (score,) = read_scores(tmp_path / "t.csv", LAYOUTS["csiq"])
    folder, file = score.image.split("/")
    assert folder == folder.lower() and file.startswith("snow.") and file.endswith(".1.png") and " " not in score.image


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,reference,mos\na.png,r.png,good\n", "row 2: column 'mos': expected a number, found 'good'"),
        ("image,reference,mos\na.png,r.png,nan\n", "row 2: column 'mos': expected a number"),
        ("image,reference,mos,std\na.png,r.png,3,-1\n", "row 2: column 'std': expected a number >= 0, found -1"),
        ("image,reference,votes\na.png,r.png,3 x\n", "row 2: column 'votes': expected a number, found 'x'"),
        ("image,reference,votes\na.png,r.png,\n", "row 2: column 'votes': expected a number, found ''"),
        ("picture,reference,mos\na.png,r.png,1\n", "row 2: no column 'image'; found picture, reference, mos"),
        ("image,reference,mos\na.png,r.png\n", "row 2: no column 'mos'"),
        (
            "image,reference,mos\na.png,r.png,1\nb.png,r.png,2\na.png,r.png,5\n",
            "t.csv: 1 pictures are listed more than once: a.png; keep one row of each",
        ),
    ],
)
def test_tables_with_mistakes(text, message, tmp_path):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_scores(tmp_path / "t.csv", LAYOUTS["csv"])


def test_a_score_off_the_scale_is_another_table(tmp_path):
    (tmp_path / "dmos.csv").write_text("dist_img,ref_img,dmos\na.png,r.png,57.5\n")
    with pytest.raises(InputError, match="row 2: column 'dmos': expected 1 to 5, found 57.5; is it another data set's"):
        read_scores(tmp_path, LAYOUTS["kadid10k"])
