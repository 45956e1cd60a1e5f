"""Groups leave out what they say, overlap nowhere, and find images in the data at hand."""

from training.data import Record, read_artifact, split_of
from training.groups import GROUPS, RUNS, fold_of
from training.held_out import PARTS

GENERATORS = {
    "stylegan2": "gan", "stylegan3": "gan", "cyclegan": "gan", "biggan": "gan", "stable_diffusion": "diffusion",
    "stable_diffusion_2_x": "diffusion", "ddpm": "diffusion", "glide": "diffusion", "latent_diffusion": "diffusion",
    "carla (unreal engine render)": "other", "vqgan + gpt": "other", "face_synthetics": "other",
    "taming_transformer": "other",
}  # fmt: skip


def world(per_source: int = 40) -> list[Record]:
    """Records of many generators and of real_images, without files."""
    generated = [
        Record(None, f"source of {generator}", family, generator, "mixed", f"{generator} {number}")
        for generator, family in GENERATORS.items()
        for number in range(per_source)
    ]
    real_images = [
        Record(None, source, "real", "real", "mixed", f"{source} {number}")
        for source in ("coco", "imagenet", "ffhq", "lsun", "celeba_hq")
        for number in range(per_source)
    ]
    return generated + real_images


def test_each_group_is_left_out_in_one_run():
    assert sorted(name for names in RUNS for name in names) == sorted(GROUPS)


def test_groups_cover_every_family_and_overlap_nowhere():
    generators = [group for group in GROUPS.values() if not group.is_real and group.kept is None and group.fold is None]
    families = {record.family for group in generators for record in world() if group.is_tested(record)}
    assert len(generators) >= 4 and families == {"gan", "diffusion", "other"}
    for record in world():
        assert sum(group.is_tested(record) for group in generators) <= 1


def test_every_image_is_in_one_fold_and_a_repository_in_one():
    folds = [group for group in GROUPS.values() if group.fold is not None]
    for record in world():
        assert sum(group.is_tested(record) for group in folds) == 1
    one, other = (Record(None, source, "gan", "g", "mixed", "0", "maker/images") for source in ("a", "b"))
    assert fold_of(one) == fold_of(other)


def test_the_published_protocol():
    group = GROUPS["published"]
    trained = {r.generator for r in world() if r.family != "real" and not group.is_left_out(r)}
    assert trained == {"stable_diffusion", "stylegan2", "ddpm"}
    assert {r.generator for r in world() if group.is_tested(r)} == {"glide", "latent_diffusion"}
    assert not [r for r in world() if r.family == "real" and group.is_left_out(r)]


def test_what_artifact_mini_has_of_each_group(artifact_mini):
    """Images of the test part that a group leaves out. Of the published protocol's generators it has hardly any."""
    records = read_artifact(artifact_mini)
    assert {
        name: sum(group.is_tested(r) and split_of(r.group, 0) in PARTS["test"] for r in records)
        for name, group in GROUPS.items()
    } == {
        "style_gan": 450, "translation_gan": 147, "new_diffusion": 228, "tuned_diffusion": 91, "renders": 188,
        "tokens": 176, "published": 0, "real_a": 157, "real_b": 190,
        "fold_0_generated": 547, "fold_0_real": 186, "fold_1_generated": 401, "fold_1_real": 262,
        "fold_2_generated": 390, "fold_2_real": 226, "fold_3_generated": 364, "fold_3_real": 114,
        "fold_4_generated": 395, "fold_4_real": 96,
    }  # fmt: skip
