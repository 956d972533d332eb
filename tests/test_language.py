"""The controlled language: hand-checked translations, alignments by construction, variety."""

from __future__ import annotations

import random
from typing import Any

import pytest

from demo.language import alignment, lexicon, realise, sample_document, sample_sentences, spoken_form
from demo.language.meaning import Adverbial, Clause, Meaning, NounPhrase

NOUNS = {noun.en: noun for noun in lexicon.NOUNS}
VERBS = {verb.en: verb for verb in (*lexicon.ALL_VERBS, *lexicon.SAYING)}
ADJECTIVES = {adjective.en: adjective for adjective in lexicon.ADJECTIVE_LIST}
QUANTITIES = {quantity.key: quantity for quantity in lexicon.QUANTITY_LIST}
MODALS = {modal.key: modal for modal in lexicon.MODAL_LIST}
PHRASES = {
    " ".join(word for word, _ in phrase.en): phrase
    for phrase in (*lexicon.TIME_LIST, *lexicon.PLACE_LIST, lexicon.year_phrase(2019))
}
_ids = iter(range(8, 10**6, 8))


def np(text: str, relative: Clause | None = None, plural: bool = False) -> NounPhrase:
    """'the book', 'a new book', 'two new books' (as 'two new book'), 'Anna', 'it=book'."""
    if "=" in text:
        return NounPhrase(next(_ids), NOUNS[text.split("=")[1]], "pronoun", plural=plural)
    words = text.split()
    if len(words) == 1:
        return NounPhrase(next(_ids), NOUNS[text], "name")
    noun = NOUNS[words[-1]]
    adjective = ADJECTIVES[words[1]] if len(words) == 3 else None
    if words[0] in QUANTITIES:
        return NounPhrase(next(_ids), noun, "count", QUANTITIES[words[0]], adjective, plural=True)
    form = "definite" if words[0] == "the" else "indefinite"
    return NounPhrase(next(_ids), noun, form, None, adjective, relative)


def clause(
    subject: str | NounPhrase, verb: str, thing: str | NounPhrase = "", tense: str = "present", **more: Any
) -> Clause:
    """A clause; a tense that is a modal's name means that modal; `be` takes a predicate."""
    where = [Adverbial(next(_ids), PHRASES[more[key]]) if key in more else None for key in ("place", "time")]
    return Clause(
        next(_ids),
        np(subject) if isinstance(subject, str) else subject,
        None if verb == "be" else VERBS[verb],
        "modal" if tense in MODALS else tense,
        MODALS.get(tense),
        (np(thing) if isinstance(thing, str) else thing) if thing else None,
        ADJECTIVES[more["predicate"]] if verb == "be" else None,
        where[0],
        where[1],
        more.get("first", False),
    )


def join(main: Clause, link: str, other: Clause, first: bool = False) -> Meaning:
    """Two clauses in one sentence."""
    return Meaning(next(_ids), main, lexicon.LINK_BY_KEY[link], other, first)


def one(*args: Any, **more: Any) -> Meaning:
    """One clause."""
    return Meaning(next(_ids), clause(*args, **more))


def relative(subject: str, *args: Any) -> NounPhrase:
    """A noun phrase with a relative clause."""
    return np(subject, clause(subject, *args))


CASES: list[tuple[Meaning, str, str, str, str]] = [
    (
        one("the teacher", "repair", "the machine"),
        "The teacher repairs the machine.",
        "Der Lehrer repariert die Maschine.",
        "L'insegnante ripara la macchina.",
        "老师修理机器。",
    ),
    (
        one("the engineer", "switch", "a broken machine"),
        "The engineer switches off a broken machine.",
        "Der Ingenieur schaltet eine kaputte Maschine aus.",
        "L'ingegnere spegne una macchina rotta.",
        "工程师关掉一台损坏的机器。",
    ),
    (
        one("the engineer", "switch", "it=television", "perfect"),
        "The engineer has switched it off.",
        "Der Ingenieur hat ihn ausgeschaltet.",
        "L'ingegnere l'ha spento.",
        "工程师关掉了它。",
    ),
    (
        one("Maria", "buy", "a new book", "past", time="yesterday", first=True),
        "Yesterday Maria bought a new book.",
        "Gestern hat Maria ein neues Buch gekauft.",
        "Ieri Maria ha comprato un libro nuovo.",
        "昨天 Maria 买了一本新的书。",
    ),
    (
        one("Maria", "buy", "a new book", "past", time="last week"),
        "Maria bought a new book last week.",
        "Maria hat letzte Woche ein neues Buch gekauft.",
        "Maria ha comprato un libro nuovo la settimana scorsa.",
        "Maria 上周买了一本新的书。",
    ),
    (
        one("three student", "clean", "the mirror", "must", time="tomorrow"),
        "Three students must clean the mirror tomorrow.",
        "Drei Studenten müssen morgen den Spiegel putzen.",
        "Tre studenti devono pulire lo specchio domani.",
        "三个学生明天必须清洗镜子。",
    ),
    (
        one("the woman", "invite", "the student", "will", time="on Friday"),
        "The woman will invite the student on Friday.",
        "Die Frau wird am Freitag den Studenten einladen.",
        "La donna inviterà lo studente venerdì.",
        "女人星期五会邀请学生。",
    ),
    (
        one("a artist", "paint", "the portrait", place="in the garden"),
        "An artist paints the portrait in the garden.",
        "Ein Künstler malt das Porträt im Garten.",
        "Un artista dipinge il ritratto in giardino.",
        "一位艺术家在花园里画肖像。",
    ),
    (
        one("a nurse", "work", place="in the hospital"),
        "A nurse works in the hospital.",
        "Eine Krankenschwester arbeitet im Krankenhaus.",
        "Un'infermiera lavora in ospedale.",
        "一位护士在医院里工作。",
    ),
    (
        one("the book", "be", predicate="interesting"),
        "The book is interesting.",
        "Das Buch ist interessant.",
        "Il libro è interessante.",
        "书很有趣。",
    ),
    (
        one(np("it=machine"), "be", predicate="new"),
        "It is new.",
        "Sie ist neu.",
        "È nuova.",
        "它很新。",
    ),
    (
        one("the house", "be", predicate="wooden"),
        "The house is wooden.",
        "Das Haus ist hölzern.",
        "La casa è di legno.",
        "房子是木制的。",
    ),
    (
        one("Peter", "choose", "two purple shirt", "wants_to"),
        "Peter wants to choose two purple shirts.",
        "Peter will zwei lila Hemden auswählen.",
        "Peter vuole scegliere due camicie viola.",
        "Peter 想选择两件紫色的衬衫。",
    ),
    (
        one(np("x=girl"), "observe", np("x=elephant", plural=True), "can"),
        "She can observe them.",
        "Sie kann sie beobachten.",
        "Lei li può osservare.",
        "她能观察它们。",
    ),
    (
        one("the girl", "throw", "it=letter", "perfect"),
        "The girl has thrown it away.",
        "Das Mädchen hat ihn weggeworfen.",
        "La ragazza l'ha buttata.",
        "女孩扔掉了它。",
    ),
    (
        join(
            clause("the doctor", "sell", "the car", "perfect"),
            "because",
            clause(np("x=doctor"), "buy", "a bicycle", "will"),
        ),
        "The doctor has sold the car because he will buy a bicycle.",
        "Der Arzt hat das Auto verkauft, weil er ein Fahrrad kaufen wird.",
        "Il medico ha venduto l'auto perché lui comprerà una bicicletta.",
        "医生卖了汽车，因为他会买一辆自行车。",
    ),
    (
        join(clause("the sister", "sleep"), "because", clause("the mother", "work"), first=True),
        "Because the mother works, the sister sleeps.",
        "Weil die Mutter arbeitet, schläft die Schwester.",
        "Siccome la madre lavora, la sorella dorme.",
        "因为母亲工作，所以姐姐睡觉。",
    ),
    (
        join(clause("Laura", "open", "the window"), "when", clause("Thomas", "close", "it=window")),
        "Laura opens the window when Thomas closes it.",
        "Laura macht das Fenster auf, wenn Thomas es zumacht.",
        "Laura apre la finestra quando Thomas la chiude.",
        "当 Thomas 关上它的时候，Laura 打开窗户。",
    ),
    (
        join(
            clause("Laura", "visit", "the museum", "past"),
            "when",
            clause("the tourist", "photograph", "a castle", "past"),
            first=True,
        ),
        "When the tourist photographed a castle, Laura visited the museum.",
        "Als der Tourist ein Schloss fotografiert hat, hat Laura das Museum besucht.",
        "Quando il turista ha fotografato un castello, Laura ha visitato il museo.",
        "当游客拍摄一座城堡的时候，Laura 参观了博物馆。",
    ),
    (
        join(clause("the pilot", "be", predicate="tired"), "although", clause(np("x=pilot"), "sleep", "", "perfect")),
        "The pilot is tired although he has slept.",
        "Der Pilot ist müde, obwohl er geschlafen hat.",
        "Il pilota è stanco anche se lui ha dormito.",
        "虽然他睡觉了，但是飞行员很疲倦。",
    ),
    (
        join(clause("two musician", "sing", "the song", "will"), "if", clause("Victor", "laugh"), first=True),
        "If Victor laughs, two musicians will sing the song.",
        "Wenn Victor lacht, werden zwei Musiker das Lied singen.",
        "Se Victor ride, due musicisti canteranno la canzone.",
        "如果 Victor 笑，两位音乐家会唱歌。",
    ),
    (
        join(clause("the lawyer", "work"), "while", clause("the manager", "sign", "the contract")),
        "The lawyer works while the manager signs the contract.",
        "Der Anwalt arbeitet, während der Geschäftsführer den Vertrag unterschreibt.",
        "L'avvocato lavora mentre il direttore firma il contratto.",
        "在经理签署合同的同时，律师工作。",
    ),
    (
        join(clause("Sophia", "say"), "that", clause("the farmer", "sell", "four horse", "perfect")),
        "Sophia says that the farmer has sold four horses.",
        "Sophia sagt, dass der Bauer vier Pferde verkauft hat.",
        "Sophia dice che il contadino ha venduto quattro cavalli.",
        "Sophia 说农民卖了四匹马。",
    ),
    (
        join(clause("the minister", "announce"), "that", clause("Marco", "prepare", "the project", "can")),
        "The minister announces that Marco can prepare the project.",
        "Der Minister kündigt an, dass Marco das Projekt vorbereiten kann.",
        "Il ministro annuncia che Marco può preparare il progetto.",
        "部长宣布 Marco 能准备项目。",
    ),
    (
        join(clause("the soldier", "wash", "the truck"), "and", clause("the girl", "smile")),
        "The soldier washes the truck, and the girl smiles.",
        "Der Soldat wäscht den Lastwagen, und das Mädchen lächelt.",
        "Il soldato lava il camion e la ragazza sorride.",
        "士兵洗卡车，而女孩微笑。",
    ),
    (
        join(clause("many tourist", "dance"), "but", clause("Julia", "complain")),
        "Many tourists dance, but Julia complains.",
        "Viele Touristen tanzen, aber Julia klagt.",
        "Molti turisti ballano, ma Julia protesta.",
        "很多游客跳舞，但是 Julia 抱怨。",
    ),
    (
        one(relative("the scientist", "repair", "a robot", "perfect"), "greet", "the philosopher"),
        "The scientist who has repaired a robot greets the philosopher.",
        "Der Wissenschaftler, der einen Roboter repariert hat, begrüßt den Philosophen.",
        "Lo scienziato che ha riparato un robot saluta il filosofo.",
        "修理了一个机器人的科学家问候哲学家。",
    ),
    (
        one("the princess", "build", "a enormous castle", "past", time="in 2019"),
        "The princess built an enormous castle in 2019.",
        "Die Prinzessin hat im Jahr 2019 ein riesiges Schloss gebaut.",
        "La principessa ha costruito un castello enorme nel 2019.",
        "公主在 2019 年建造了一座巨大的城堡。",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[1])
def test_translations(case: tuple[Meaning, str, str, str, str]) -> None:
    meaning, *expected = case
    assert [realise(meaning, lang).text for lang in ("en", "de", "it", "zh")] == expected


def test_late_surfaces_follow_the_english_order() -> None:
    meaning = one("Maria", "buy", "a new book", "past", time="last week")
    assert realise(meaning, "de", late=True).text == "Maria hat ein neues Buch gekauft letzte Woche."
    assert realise(meaning, "zh", late=True).text == "Maria 买了一本新的书，上周。"
    meaning = join(clause("Victor", "sleep"), "if", clause("Laura", "work"))
    assert realise(meaning, "zh", late=True).text == "Victor 睡觉，如果 Laura 工作。"


def test_alignment_pairs() -> None:
    meaning = one("Maria", "buy", "a new book", "past", time="yesterday")
    source, target = realise(meaning, "en"), realise(meaning, "zh")
    assert [unit.text for unit in target.units] == ["Maria", "昨天", "买", "了", "一本", "新的", "书。"]
    assert alignment(source, target) == {(0, 0), (5, 1), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6)}


def test_every_target_unit_is_aligned_and_spans_fit() -> None:
    for meaning in sample_sentences(random.Random(3), 80):
        source = realise(meaning, "en")
        for lang in ("de", "it", "zh"):
            for late in (False, True):
                target = realise(meaning, lang, late)
                assert {j for _, j in alignment(source, target)} == set(range(len(target.units))), target.text
                assert [target.text[a:b] for a, b in target.spans] == [unit.text for unit in target.units]


def test_vocabulary_size() -> None:
    assert len(lexicon.content_words()) >= 330


def test_deterministic_and_varied() -> None:
    def draw(seed: int) -> list[str]:
        rng = random.Random(seed)
        return [realise(meaning, "en").text for _ in range(750) for meaning in sample_document(rng, 4)]

    texts = draw(5)
    assert texts == draw(5)
    assert len(set(texts)) > 0.96 * len(texts)
    lengths = [len(text.split()) for text in texts]
    assert max(lengths) <= 18
    assert 8.0 < sum(lengths) / len(lengths) < 10.0


def test_spoken_form_reads_years_and_drops_punctuation() -> None:
    meaning = join(
        clause("Peter", "build", "a house", "past", time="in 2019", first=True), "but", clause("Laura", "sleep")
    )
    words = "in twenty nineteen peter built a house but laura sleeps".split()  # noqa: SIM905
    assert spoken_form(realise(meaning, "en")) == words


def test_unknown_language_is_named() -> None:
    with pytest.raises(ValueError, match="'fr'"):
        realise(one("Peter", "sleep"), "fr")
