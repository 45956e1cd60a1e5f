"""Families are known, splits do not leak, sampling is balanced."""

import csv
from collections import Counter, defaultdict
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imagetrust.models.config import TASKS
from training.data import (
    SPLITS,
    BalancedSampler,
    DataError,
    Record,
    balanced_weights,
    data_digest,
    labelled,
    read_artifact,
    read_wild,
    split,
    split_of,
)  # fmt: skip
from training.sources import ARTIFACT_SOURCES, FAMILIES


def record(source="camera_a", family="real", group="g", generator="real"):
    return Record(path=None, source=source, family=family, generator=generator, category="mixed", group=group)


def test_every_source_of_artifact_has_a_family_and_a_reason():
    families = Counter(family for family, _ in ARTIFACT_SOURCES.values())
    assert len(ARTIFACT_SOURCES) == 33
    assert families["real"] == 8  # arXiv 2302.11970: 8 real sources, 25 generators
    assert set(families) == set(FAMILIES)
    assert all(len(reason) > 10 for _, reason in ARTIFACT_SOURCES.values())


def test_reads_a_root(data_root):
    records = read_artifact(data_root)
    assert len(records) == 600
    assert Counter(record.family for record in records) == {"real": 240, "gan": 120, "diffusion": 120, "other": 120}
    assert all(record.path.is_file() for record in records)
    assert records == read_artifact(data_root)


def write_source(root, source, rows, columns=("filename", "image_path", "target", "category")):
    folder = root / source
    folder.mkdir(parents=True)
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def test_reads_the_layout_of_the_full_artifact(tmp_path):
    """No sources.csv and no origin there; and its cycle_gan holds photographs too."""
    write_source(tmp_path, "cycle_gan", [("a.jpg", "horse/a.jpg", 0, "horse"), ("b.jpg", "horse/b.jpg", 6, "horse")])
    write_source(tmp_path, "afhq", [("c.jpg", "c.jpg", 0, "cat")])
    records = read_artifact(tmp_path)
    assert [(record.source, record.family) for record in records] == [
        ("afhq", "real"), ("cycle_gan", "real"), ("cycle_gan", "gan"),
    ]  # fmt: skip
    assert len({record.group for record in records}) == 3


@pytest.mark.parametrize(
    ("source", "row", "said"),
    [
        ("unheard_of", ("a.jpg", "a.jpg", 1, "x"), "sources.csv"),
        ("afhq", ("a.jpg", "a.jpg", 1, "x"), "real source"),
        ("afhq", ("a.jpg", "a.jpg", "cat", "x"), "target"),
    ],
)
def test_contradictions_are_named(tmp_path, source, row, said):
    write_source(tmp_path, source, [row])
    with pytest.raises(DataError, match=said):
        read_artifact(tmp_path)


def test_missing_columns_and_empty_roots_are_named(tmp_path):
    with pytest.raises(DataError, match="not an ArtiFact root"):
        read_artifact(tmp_path)
    write_source(tmp_path, "afhq", [("a.jpg",)], columns=("filename",))
    with pytest.raises(DataError, match="target"):
        read_artifact(tmp_path)


def test_what_was_made_from_one_file_stays_together(tmp_path):
    columns = ("filename", "image_path", "target", "category", "origin")
    write_source(tmp_path, "stylegan1", [("1", "1", 1, "x", "results__fake__0042.png")], columns)
    write_source(tmp_path, "ffhq", [("1", "1", 0, "x", "photos/0042.jpg"), ("2", "2", 0, "x", "0043.jpg")], columns)
    rows = [(str(n), str(n), 2, "x", f"renders__prompt-{n // 2}__output.png") for n in range(6)]
    write_source(tmp_path, "glide", rows, columns)
    groups = {(record.source, record.path.name): record.group for record in read_artifact(tmp_path)}
    assert groups["stylegan1", "1"] == groups["ffhq", "1"] != groups["ffhq", "2"]
    assert groups["glide", "0"] == groups["glide", "1"] != groups["glide", "2"]  # "output" identifies nothing


records_of_any_kind = st.lists(
    st.builds(
        record,
        source=st.sampled_from(["a", "b", "c"]),
        family=st.sampled_from([*FAMILIES, "undisclosed"]),
        group=st.text(max_size=3),
    ),
    max_size=60,
)


@given(records_of_any_kind, st.integers(0, 2**31))
def test_splits_never_leak(records, seed):
    parts = split(records, seed)
    assert sum(len(part) for part in parts.values()) == len(records)
    where = defaultdict(set)
    for name, part in parts.items():
        for member in part:
            where[member.group].add(name)
    assert all(len(names) == 1 for names in where.values())


@given(records_of_any_kind, records_of_any_kind, st.integers(0, 2**31))
def test_adding_images_moves_none(old, new, seed):
    before = {id(member): name for name, part in split(old, seed).items() for member in part}
    after = {id(member): name for name, part in split(old + new, seed).items() for member in part}
    assert all(after[key] == name for key, name in before.items())


@given(records_of_any_kind, st.integers(0, 2**31))
def test_both_tasks_see_the_same_split(records, seed):
    for part in split(records, seed).values():
        binary = [member for member, _ in labelled(part, "authenticity")]
        families = [member for member, _ in labelled(part, "generator_type")]
        assert families == [member for member in binary if member.family != "undisclosed"]


def test_shares_are_as_promised():
    counts = Counter(split_of(str(number), seed=0) for number in range(20_000))
    start = 0.0
    for name, end in SPLITS:
        assert counts[name] / 20_000 == pytest.approx(end - start, abs=0.01)
        start = end


def test_labels():
    records = [record(), record(family="gan"), record(family="undisclosed")]
    assert [label for _, label in labelled(records, "authenticity")] == [0, 1, 1]
    assert [label for _, label in labelled(records, "generator_type")] == [0, TASKS["generator_type"].index("gan")]


def test_sampling_is_balanced():
    counts = {
        ("camera_a", "real"): 900,
        ("checker_gan", "gan"): 90,
        ("smooth", "diffusion"): 10,
        ("d2", "diffusion"): 40,
    }
    records = [record(source=s, family=f, group=str(n)) for (s, f), count in counts.items() for n in range(count)]
    items = labelled(records, "authenticity")
    weights = balanced_weights(items)
    share = defaultdict(float)
    for (member, label), weight in zip(items, weights.tolist(), strict=True):
        share[label] += weight
        share[member.family] += weight
        share[member.source] += weight
    assert share[0] == pytest.approx(share[1])
    assert share["gan"] / share["diffusion"] == pytest.approx((90 / 50) ** 0.5)
    assert share["d2"] / share["smooth"] == pytest.approx(2)  # the root of 40 / 10
    assert share[0] == pytest.approx(1)


def test_one_makers_sources_count_as_one():
    """Nine folders of one repository are sampled like one folder of another's with as many images."""
    makers = [("stylegan_a", "one/faces"), ("stylegan_b", "one/faces"), ("other_gan", "two/gan"), ("loose", "")]
    records = [
        replace(record(source=source, family="gan", group=f"{source}{n}"), repository=repository)
        for source, repository in makers
        for n in range(10 if repository == "one/faces" else 20)
    ]
    weights = balanced_weights(labelled(records, "authenticity"))
    share = defaultdict(float)
    for member, weight in zip(records, weights.tolist(), strict=True):
        share[member.maker] += weight
    assert share["one/faces"] == pytest.approx(1 / 3) and share["loose"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("source", "family", "partly"),
    [
        ("gan_sr_swinir", "gan", True),
        ("gan_inpaint_migan", "gan", True),
        ("diff_flux1_dev_kontext_a", "diffusion", True),
        ("gan_srgan_like", "gan", False),
        ("diff_flux1_dev", "diffusion", False),
        ("gan_sr_inputs", "real", False),
    ],
)
def test_partly_real_sources(source, family, partly):
    assert record(source=source, family=family).is_partly_real == partly


def test_sampler_resumes_and_shares():
    weights = torch.rand(101, dtype=torch.double)
    whole = BalancedSampler(weights, seed=3, rank=0, world=1)
    whole.begin(epoch=2)
    everything = list(whole)
    assert len(everything) == len(whole) == 101
    whole.begin(epoch=2, skip=40)
    assert list(whole) == everything[40:] and len(whole) == 61
    halves = []
    for rank in range(2):
        sampler = BalancedSampler(weights, seed=3, rank=rank, world=2)
        sampler.begin(epoch=2)
        halves.append(list(sampler))
    assert len(halves[0]) == len(halves[1]) == 50
    assert [index for pair in zip(*halves, strict=True) for index in pair] == everything[:100]
    whole.begin(epoch=3)
    assert list(whole) != everything


def test_sources_name_their_repository_where_it_is_known(tmp_path):
    write_source(tmp_path, "some_gan", [("a.jpg", "a.jpg", 1, "x")])
    write_source(tmp_path, "afhq", [("b.jpg", "b.jpg", 0, "cat")])
    (tmp_path / "sources.csv").write_text("source,family,generator,origin_repository\nsome_gan,gan,biggan,owner/name\n")
    assert {record.source: record.repository for record in read_artifact(tmp_path)} == {
        "afhq": "", "some_gan": "owner/name",
    }  # fmt: skip


def test_the_digest_tells_which_images_a_data_set_lists(tmp_path):
    roots = [tmp_path / name for name in ("one", "same", "relabelled", "more")]
    for root, target, names in zip(roots, (6, 6, 0, 6), ("ab", "ba", "ab", "abc"), strict=True):
        write_source(root, "cycle_gan", [(name, name, target, "horse") for name in names])
    one, same, relabelled, more = (data_digest(read_artifact(root), root) for root in roots)
    assert one == same and len({one, relabelled, more}) == 3


def test_whole_images_are_read_by_their_labels(tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text(
        "file,family,source,generator,category,saved,origin_repository,license\n"
        "a.jpg,real,real_walk,somebody,street,original,owner/name,MIT\n"
        "b.webp,diffusion,diff_sdxl,sdxl,art,webp 80 1024,owner/other,unknown\n"
    )
    real, generated = read_wild(tmp_path)
    assert (real.path, real.family, real.generator) == (tmp_path / "a.jpg", "real", "real")
    assert (generated.source, generated.generator, generated.repository) == ("diff_sdxl", "sdxl", "owner/other")
    table.write_text("file,family,source,generator,category,origin_repository\na.jpg,drawn,s,g,c,r\n")
    with pytest.raises(DataError, match="drawn"):
        read_wild(tmp_path)


def test_artifact_mini(artifact_mini):
    """The shared data set is read whole, as its description counts it, and no group lies on two sides of the split."""
    records = read_artifact(artifact_mini)
    assert Counter(record.family for record in records) == {
        "real": 4422, "gan": 4138, "diffusion": 4120, "other": 1926, "undisclosed": 217,
    }  # fmt: skip
    assert len({record.source for record in records}) == 369
    assert all(record.repository for record in records)
    parts = split(records, seed=0)
    groups = [{member.group for member in part} for part in parts.values()]
    assert sum(map(len, groups)) == len(set().union(*groups))
    for part in parts.values():
        assert {member.family for member in part} >= set(FAMILIES)
