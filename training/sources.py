"""Which family each source of ArtiFact belongs to, and why: the one place that decides it.

ArtiFact (arXiv 2302.11970) has 33 sources. Its authors count 13 GANs, 7 diffusion models and 5 miscellaneous ones.
Here a family says what drew the pixels, since that is what leaves traces: a generator trained against a
discriminator is a GAN also where its task is inpainting. LaMa, MAT and SFHQ, which the authors file under
miscellaneous, are therefore GANs here; the same holds for the inpainting sources of artifact_mini.

A data set with other sources says their families in a `sources.csv` of its own (columns source, family, generator).
"""

REAL, GAN, DIFFUSION, OTHER, UNDISCLOSED = "real", "gan", "diffusion", "other", "undisclosed"
FAMILIES = (REAL, GAN, DIFFUSION, OTHER)

# Sources of artifact_mini that restore, enlarge, fill in, restyle or project photographs and paintings. Their label,
# generated, is a decision: no head is fitted to them, and what is found of them is reported apart.
PARTLY_REAL = (
    r"^(gan_(sr|inpaint|gpen|gfpgan|deoldify|esrgan)_|gan_stylegan2_wikiart_|diff_adm_ffhq_dps_|diff_ootdiffusion_"
    r"|diff_flux1_dev_kontext_|other_deep_photo_style_transfer|other_nst_)"
)

ARTIFACT_SOURCES: dict[str, tuple[str, str]] = {
    "afhq": (REAL, "photographs of animal faces"),
    "celebahq": (REAL, "photographs of celebrities, aligned"),
    "coco": (REAL, "photographs from Flickr"),
    "ffhq": (REAL, "portraits from Flickr, aligned"),
    "imagenet": (REAL, "photographs from the web"),
    "landscape": (REAL, "photographs of landscapes"),
    "lsun": (REAL, "photographs of scenes and objects"),
    "metfaces": (REAL, "photographed paintings and sculptures: made by hand, recorded by a camera"),
    "big_gan": (GAN, "BigGAN, class-conditional, adversarial loss"),
    "cips": (GAN, "CIPS, a pixel-wise generator trained against a discriminator"),
    "cycle_gan": (GAN, "CycleGAN translations; its rows with target 0 are the photographs they start from"),
    "diffusion_gan": (GAN, "Diffusion-GAN: noise enters the discriminator only, one generator pass draws the picture"),
    "gansformer": (GAN, "GANformer, adversarial loss"),
    "gau_gan": (GAN, "GauGAN (SPADE), adversarial loss"),
    "generative_inpainting": (GAN, "contextual attention inpainting with an adversarial loss"),
    "lama": (GAN, "LaMa inpainting: Fourier convolutions, trained with an adversarial loss"),
    "mat": (GAN, "MAT inpainting: a transformer generator, trained with an adversarial loss"),
    "pro_gan": (GAN, "ProGAN, adversarial loss"),
    "projected_gan": (GAN, "ProjectedGAN, adversarial loss in a feature space"),
    "sfhq": (GAN, "faces of several origins, all drawn by StyleGAN2 after encoding"),
    "star_gan": (GAN, "StarGAN translations, adversarial loss"),
    "stylegan1": (GAN, "StyleGAN, adversarial loss"),
    "stylegan2": (GAN, "StyleGAN2, adversarial loss"),
    "stylegan3": (GAN, "StyleGAN3, adversarial loss"),
    "ddpm": (DIFFUSION, "denoising diffusion in pixel space"),
    "denoising_diffusion_gan": (DIFFUSION, "a denoising chain of a few steps, each step learnt adversarially"),
    "glide": (DIFFUSION, "text-guided diffusion in pixel space"),
    "latent_diffusion": (DIFFUSION, "diffusion in a latent space"),
    "palette": (DIFFUSION, "image-to-image diffusion"),
    "stable_diffusion": (DIFFUSION, "text-guided diffusion in a latent space"),
    "vq_diffusion": (DIFFUSION, "discrete diffusion over codebook tokens"),
    "face_synthetics": (OTHER, "faces rendered from 3D models, nothing learnt"),
    "taming_transformer": (OTHER, "an autoregressive transformer over VQGAN tokens"),
}
