"""Example pairs for models that follow no instructions, in any two of many languages."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from langcodes import Language

SENTENCES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "ar": ("كانت السماء تمطر عندما وصلنا إلى المحطة.", "فتحت النافذة ونظرت إلى الحديقة."),
        "bg": (
            "Валеше, когато пристигнахме на гарата.",
            "Тя отвори прозореца и погледна към градината.",
        ),
        "bn": (
            "আমরা যখন স্টেশনে পৌঁছালাম, তখন বৃষ্টি হচ্ছিল।",
            "সে জানালা খুলে বাগানের দিকে তাকাল।",
        ),
        "ca": ("Plovia quan vam arribar a l'estació.", "Va obrir la finestra i va mirar el jardí."),
        "cs": ("Pršelo, když jsme dorazili na nádraží.", "Otevřela okno a podívala se na zahradu."),
        "da": ("Det regnede, da vi kom til stationen.", "Hun åbnede vinduet og så ud på haven."),
        "de": (
            "Es regnete, als wir am Bahnhof ankamen.",
            "Sie öffnete das Fenster und blickte in den Garten.",
        ),
        "el": ("Έβρεχε όταν φτάσαμε στον σταθμό.", "Άνοιξε το παράθυρο και κοίταξε τον κήπο."),
        "en": (
            "It was raining when we arrived at the station.",
            "She opened the window and looked at the garden.",
        ),
        "es": ("Llovía cuando llegamos a la estación.", "Ella abrió la ventana y miró el jardín."),
        "fa": ("وقتی به ایستگاه رسیدیم باران می‌بارید.", "او پنجره را باز کرد و به باغ نگاه کرد."),
        "fi": ("Satoi, kun saavuimme asemalle.", "Hän avasi ikkunan ja katsoi puutarhaa."),
        "fr": (
            "Il pleuvait quand nous sommes arrivés à la gare.",
            "Elle ouvrit la fenêtre et regarda le jardin.",
        ),
        "he": ("ירד גשם כשהגענו לתחנה.", "היא פתחה את החלון והביטה בגינה."),
        "hi": (
            "जब हम स्टेशन पहुँचे, तब बारिश हो रही थी।",
            "उसने खिड़की खोली और बगीचे की ओर देखा।",
        ),
        "hr": ("Padala je kiša kad smo stigli na kolodvor.", "Otvorila je prozor i pogledala vrt."),
        "hu": (
            "Esett az eső, amikor megérkeztünk az állomásra.",
            "Kinyitotta az ablakot, és a kertre nézett.",
        ),
        "id": (
            "Hujan sedang turun ketika kami tiba di stasiun.",
            "Dia membuka jendela dan memandang taman.",
        ),
        "it": (
            "Pioveva quando arrivammo alla stazione.",
            "Lei aprì la finestra e guardò il giardino.",
        ),
        "ja": ("駅に着いたとき、雨が降っていた。", "彼女は窓を開けて、庭を見た。"),
        "ko": (
            "우리가 역에 도착했을 때 비가 내리고 있었다.",
            "그녀는 창문을 열고 정원을 바라보았다.",
        ),
        "ms": (
            "Hujan sedang turun ketika kami tiba di stesen.",
            "Dia membuka tingkap dan memandang taman.",
        ),
        "nb": ("Det regnet da vi kom til stasjonen.", "Hun åpnet vinduet og så ut på hagen."),
        "nl": (
            "Het regende toen we op het station aankwamen.",
            "Ze opende het raam en keek naar de tuin.",
        ),
        "pl": (
            "Padał deszcz, kiedy dotarliśmy na stację.",
            "Otworzyła okno i spojrzała na ogród.",
        ),
        "pt": ("Chovia quando chegamos à estação.", "Ela abriu a janela e olhou para o jardim."),
        "ro": (
            "Ploua când am ajuns la gară.",
            "Ea a deschis fereastra și s-a uitat la grădină.",
        ),
        "ru": (
            "Шёл дождь, когда мы приехали на вокзал.",
            "Она открыла окно и посмотрела на сад.",
        ),
        "sk": ("Pršalo, keď sme dorazili na stanicu.", "Otvorila okno a pozrela sa na záhradu."),
        "sl": ("Deževalo je, ko smo prispeli na postajo.", "Odprla je okno in pogledala na vrt."),
        "sr": (
            "Падала је киша када смо стигли на станицу.",
            "Отворила је прозор и погледала у башту.",
        ),
        "sv": (
            "Det regnade när vi kom fram till stationen.",
            "Hon öppnade fönstret och såg ut över trädgården.",
        ),
        "th": ("ฝนกำลังตกตอนที่เรามาถึงสถานี", "เธอเปิดหน้าต่างและมองไปที่สวน"),
        "tr": (
            "İstasyona vardığımızda yağmur yağıyordu.",
            "Pencereyi açtı ve bahçeye baktı.",
        ),
        "uk": (
            "Йшов дощ, коли ми приїхали на вокзал.",
            "Вона відчинила вікно й подивилася на сад.",
        ),
        "vi": (
            "Trời đang mưa khi chúng tôi đến nhà ga.",
            "Cô ấy mở cửa sổ và nhìn ra khu vườn.",
        ),
        "zh": ("我们到达车站时，天正在下雨。", "她打开窗户，看着花园。"),
        "zh-Hant": ("我們到達車站時，天正在下雨。", "她打開窗戶，看著花園。"),
    }
)
"""The same sentences by language, in its usual script unless the tag names another."""


def example_pairs(source_language: str, target_language: str) -> list[tuple[str, str]]:
    """(source, translation) in two languages, BCP 47 tags; none if one is not in `SENTENCES`."""
    return list(zip(_sentences(source_language), _sentences(target_language), strict=False))


def _sentences(tag: str) -> tuple[str, ...]:
    language = Language.get(tag).maximize()
    name = {"no": "nb"}.get(str(language.language), str(language.language))
    in_script = SENTENCES.get(f"{name}-{language.script}")
    if in_script is not None:
        return in_script
    is_usual = language.script == Language.get(name).maximize().script
    return SENTENCES.get(name, ()) if is_usual else ()
