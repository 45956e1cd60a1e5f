"""The words with which files state an origin: the IPTC's source types, and the names of generators and games."""

import re

from imagetrust.provenance.finding import Says

# IPTC NewsCodes "Digital Source Type", http://cv.iptc.org/newscodes/digitalsourcetype/ (2025-05, retired ones
# included), and the two types that C2PA adds (C2PA 2.2, 18.15.2). A type that does not speak of a generative model
# is not read as one: algorithmicMedia is a fractal, compositeSynthetic may hold plain computer graphics.
_SOURCE_TYPES: dict[str, Says] = {
    "trainedAlgorithmicMedia": "generated",
    "trainedAlgorithmicData": "generated",
    "compositeWithTrainedAlgorithmicMedia": "edited_with_ai",
    "digitalCapture": "camera",
    "computationalCapture": "camera",
    "compositeCapture": "camera",
    "negativeFilm": "camera",
    "positiveFilm": "camera",
    "print": "camera",
    "humanEdits": "software",
    "minorHumanEdits": "software",
    "algorithmicallyEnhanced": "software",
    "algorithmicMedia": "software",
    "composite": "software",
    "compositeSynthetic": "software",
    "dataDrivenMedia": "software",
    "digitalArt": "software",
    "digitalCreation": "software",
    "screenCapture": "software",
    "softwareImage": "software",
    "virtualRecording": "software",
    "empty": "nothing",
}
_SOURCE_TYPE_NAMES = {name.lower(): name for name in _SOURCE_TYPES} | {
    # The NewsCodes' English labels, where they are others than the names.
    "createdusinggenerativeai": "trainedAlgorithmicMedia",
    "editedusinggenerativeai": "compositeWithTrainedAlgorithmicMedia",
    "editedwithgenerativeai": "compositeWithTrainedAlgorithmicMedia",
}

# Names of generators, by whole words, that are neither the name of a camera or an editor nor a common word ("imagen" is
# Spanish for image). Products: their name alone in a field for a credit speaks of the image.
_PRODUCTS = (
    r"(?:adobe[ _]|adobe's )firefly", r"amazon (?:nova canvas|titan image generator)", r"bing image creator",
    r"craiyon", r"dall[-·._ ]?e(?: ?[23])?", r"dreamina",
    r"flux\.?[12](?:[- .\[]*(?:dev|schnell|pro|kontext|klein))?\]?", r"gemini [\d.]+ (?:flash|pro)(?: image)?",
    r"google imagen", r"gpt-image(?:-[\d.]+)?", r"gpt-4o", r"grok imagine",
    r"image creator from (?:microsoft )?designer", r"imagen-[\d.]+-\w+", r"jimeng", r"mai-image(?:-[\d.]+)?",
    r"midjourney", r"nano banana", r"nightcafe", r"novelai", r"(?:apple )?image playground",
    r"qwen-image", r"sdxl", r"seedream", r"stable[-_ ]?diffusion(?:[- ]?xl)?",
)  # fmt: skip
# Programs and services, whose name stands for the image only where programs and devices write their own.
_SERVICES = (
    r"aphrodite ai", r"automatic1111", r"black forest labs", r"chatgpt", r"civitai", r"comfyui", r"diffusionbee",
    r"doubao", r"draw things", r"dream by wombo", r"dreamstudio", r"easy ?diffusion", r"fal[-.]ai",
    r"\w*fooocus(?:[- ]mre)?", r"hailuo(?: ?ai)?", r"higgsfield(?: ?ai)?", r"hunyuan(?:-?image)?",
    r"imagine with meta(?: ai)?", r"invokeai", r"kling ?ai", r"lumalabs", r"mflux", r"mochi diffusion", r"openai",
    r"pollinations(?:[. ]ai)?", r"runwayml", r"sd\.?next", r"seaart", r"stability ?ai", r"(?:stable)?swarmui",
    r"(?:dezgo|getimg|ideogram|krea|leonardo|luma|openart|pixai|playground|recraft|reve|tensor|wombo)"
    r"[. ]?(?:ai|art|com)",
)  # fmt: skip
_CHINESE = ("即梦", "可灵", "文心一格", "星绘", "海螺AI", "腾讯混元", "豆包", "通义万相")
# Words of other meanings as well: names of generators only where they are all that a program says of itself.
_ALONE = r"(?:firefly|grok|ideogram|imagen|krea|lexica|recraft|reve|sora)(?:[ v/-]*[\d.]+)?"
_MODEL_FILE = r"[\w.-]{1,80}\.(?:safetensors|ckpt|gguf)"  # weights of a model are no camera

_VERSION = r"(?:[ /]?v?[\d.]+)?"
_PRODUCT = re.compile(rf"(?:{'|'.join((*_PRODUCTS, *_CHINESE))}){_VERSION}", re.IGNORECASE)
_GENERATOR = re.compile(
    rf"(?<!\w)(?:{'|'.join((*_PRODUCTS, *_SERVICES))}|{_MODEL_FILE})(?!\w)|{'|'.join(_CHINESE)}", re.IGNORECASE
)
_GENERATOR_ALONE = re.compile(_ALONE, re.IGNORECASE)
_WITH_MODEL = re.compile(
    rf"(?:(?:google|meta|generative|microsoft|samsung|galaxy) )?(?:a\.?i\.?|artificial intelligence)"
    rf"|(?:{'|'.join((*_PRODUCTS, *_SERVICES, *_CHINESE))}){_VERSION}",
    re.IGNORECASE,
)
# What services write into a field for a credit, instead of a name: Google's "Made with Google AI" and "Edited with
# Google AI", Meta's "Imagined with AI", "AI generated image".
_THING = r"(?:(?:this |an? )?(?:image|picture|photo|artwork|illustration) (?:was )?)?"
_PREPOSITION = r"(with|by|using|in|on|via)"
_MADE = re.compile(
    rf"{_THING}(?:made|created|generated|imagined|designed|produced) {_PREPOSITION} (.{{2,48}}?)[.!]?", re.IGNORECASE
)
_EDITED = re.compile(
    rf"{_THING}(?:edited|modified|altered|changed|retouched) {_PREPOSITION} (.{{2,48}}?)[.!]?", re.IGNORECASE
)
_AI_GENERATED = re.compile(
    r"(?:image |picture )?(?:is |was )?(?:ai|a\.i\.)[- ]generated(?: (?:image|picture|photo|artwork|content))?",
    re.IGNORECASE,
)
# Written by Photos of iOS 18 beside a source type, which other programs may drop.
_CREDITS: dict[str, Says] = {"apple photos clean up": "edited_with_ai"}

# Games and consoles that write themselves into the fields for a camera. The handhelds that take photographs, Nintendo's
# of the DS family and Sony's Vita, are none of them.
_GAMES = re.compile(
    r"(?<!\w)(?:polyphony digital|gran turismo|playground games|turn ?10(?: studios)?|forza (?:horizon|motorsport)"
    r"|rockstar(?: games| north)?|grand theft auto|red dead redemption|nvidia(?! shield)|geforce|shadowplay"
    r"|nintendo ?switch(?: 2)?|sony (?:computer|interactive) entertain\w*(?!.*vita)|playstation ?(?:\(r\)|[®™])? ?[3-6]"
    r"|xbox|steam(?: ?deck)?|valve|ubisoft|electronic arts|cd projekt(?: red)?|bethesda|square enix|capcom|guerrilla"
    r"|naughty dog|insomniac(?: games)?|kojima productions|sucker punch|santa monica studio|bungie|blizzard"
    r"|world of warcraft|final fantasy|mihoyo|hoyoverse|genshin impact|minecraft|mojang|roblox|epic games|unreal engine"
    r"|unity technologies|vrchat|second life|linden lab|kunos simulazioni|assetto corsa|iracing)(?!\w)",
    re.IGNORECASE,
)
# Values that fill a field and name nothing.
_NO_VALUE = re.compile(
    r"\W*(?:n[/.]?a|nil|null|unknown|undefined|false|0|(?:none|not?)(?:\W+(?:any|an?|ai|generative|artificial|intelligence"
    r"|system|model|tool|software|was|is|been|not|used|applicable|available|specified|involved))*"
    r"|keine?[nrs]?|aucune?|ningun[oa]|ningún|nenhuma?|nessun[oa]?|geen|нет|无|沒有|没有|なし|없음)?\W*",
    re.IGNORECASE,
)
_NO_NAME = re.compile(r"[{}\n]|^\s*\[")  # JSON and lists, which savers of ComfyUI and SwarmUI write into such fields
_MAX_NAME = 128

_BY_WEIGHT: tuple[Says, ...] = ("generated", "edited_with_ai", "possibly_generated", "camera", "software", "nothing")


def source_type_name(value: str) -> str:
    """Return the last part of a source type's URI or QCode ("digsrctype:..."), or the name that a label stands for.

    Any other name stays as it is.
    """
    name = re.split(r"[/:#]", value.strip().rstrip("/#"))[-1]
    return _SOURCE_TYPE_NAMES.get(re.sub(r"[\W_]", "", name).lower(), name)


def source_type_says(value: str) -> Says:
    """Return what a digital source type, URI, QCode or bare name, says; "nothing" for an unknown one."""
    return _SOURCE_TYPES.get(source_type_name(value), "nothing")


def generator_named(text: str) -> str | None:
    """Return the generator that a field for a program's or device's name names, or None."""
    text = text[:1024].strip()
    found = _GENERATOR.search(text)
    if found:
        return found.group()
    return text if _GENERATOR_ALONE.fullmatch(text) else None


def credit_says(text: str) -> tuple[Says, bool]:
    """Return what a field for a credit or byline says, and whether in a sentence rather than by a product's name alone.

    A name among other words says nothing: "Midjourney Road Studio" is an address.
    """
    text = " ".join(text[:256].split())
    if says := _CREDITS.get(text.lower()):
        return says, True
    statements: tuple[tuple[re.Pattern[str], Says], ...] = ((_MADE, "generated"), (_EDITED, "edited_with_ai"))
    for sentence, says in statements:
        found = sentence.fullmatch(text)
        if found and (
            _WITH_MODEL.fullmatch(found[2])
            # "Created by Sora" may be a person's credit.
            or (found[1].lower() != "by" and _GENERATOR_ALONE.fullmatch(found[2]))
        ):
            return says, True
    if _AI_GENERATED.fullmatch(text):
        return "generated", True
    return ("generated", False) if _PRODUCT.fullmatch(text) else ("nothing", False)


def game_named(text: str) -> str | None:
    """Return the game, its maker or the console that fields for a camera and its software name, or None."""
    found = _GAMES.search(text[:1024])
    return found.group() if found else None


def names_something(text: str) -> bool:
    """Whether a field's value is more than a filler such as "None" or "N/A"."""
    return not _NO_VALUE.fullmatch(text[:64])


def is_name(text: str) -> bool:
    """Whether a field's value can be the name of a device or a program."""
    return len(text) <= _MAX_NAME and names_something(text) and not _NO_NAME.search(text)


def weightiest(statements: list[Says]) -> Says:
    """Return the statement that decides where several are made; "nothing" where there is none."""
    return min(statements, key=_BY_WEIGHT.index, default="nothing")
