"""A small grammar of English sentences with a known meaning.

A sentence states a `Fact`; `entails` decides from two facts, and from nothing
in their wording, whether the second follows from the first.  `draw_pair`
draws the hypothesis before it looks at the label, so the hypothesis alone
cannot give the label away.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

ENTAILMENT, NOT_ENTAILMENT = 0, 1

PEOPLE = {
    "artist": ("painter", "singer", "dancer", "poet"),
    "medic": ("doctor", "nurse", "surgeon", "dentist"),
    "official": ("judge", "mayor", "guard", "clerk"),
    "cook": ("baker", "butcher", "waiter", "brewer"),
}
THINGS = {
    "fruit": ("apple", "pear", "plum", "lemon"),
    "vehicle": ("car", "van", "truck", "tractor"),
    "instrument": ("drum", "flute", "violin", "trumpet"),
    "garment": ("coat", "hat", "shirt", "scarf"),
    "tool": ("hammer", "saw", "shovel", "rake"),
}
THING_VERBS = {
    "obtain": ("buy", "borrow", "steal", "find"),
    "move": ("carry", "push", "pull", "lift"),
    "damage": ("break", "burn", "scratch", "bend"),
    "clean": ("wash", "wipe", "scrub", "brush"),
}
PERSON_VERBS = {
    "contact": ("phone", "email", "visit", "invite"),
    "honor": ("praise", "thank", "reward", "greet"),
}
PLACES = {
    "france": ("paris", "lyon", "nice"),
    "italy": ("rome", "milan", "turin"),
    "japan": ("kyoto", "osaka", "tokyo"),
    "norway": ("oslo", "bergen"),
}
DAYS = {
    "weekday": ("monday", "tuesday", "wednesday", "thursday", "friday"),
    "weekend": ("saturday", "sunday"),
}
NAMES = (
    "anna", "annabel", "ben", "bennett", "carl", "carla", "dora", "emil",
    "emily", "felix", "greta", "hugo", "ines", "john", "johnson", "karim",
    "lena", "martin", "martina", "nina", "oscar", "paul", "paula", "tom",
)

# Other words for the same thing: either may be written for the first.
SYNONYMS = {
    "doctor": ("physician",), "car": ("automobile",), "coat": ("jacket",),
    "guard": ("sentry",), "buy": ("purchase",), "phone": ("call",),
    "shovel": ("spade",), "carry": ("transport",),
    "obtain": ("acquire",), "damage": ("harm",), "medic": ("healer",),
}
IRREGULAR = {
    "buy": ("bought", "bought"), "steal": ("stole", "stolen"),
    "find": ("found", "found"), "break": ("broke", "broken"),
    "bend": ("bent", "bent"),
    "carry": ("carried", "carried"),
}
FACTIVE = ("knew", "noticed", "proved")
VEILED = ("hoped", "claimed", "doubted")
COUNTS = {"name": 1, "a": 1, "two": 2, "three": 3, "every": 0, "no": 0}
SLOTS = ("verb", "object", "place", "day")


def _parents() -> dict[str, str]:
    """Map each word of the taxonomies to the next more general one."""
    table = {family: "person" for family in PEOPLE}
    table |= {family: "thing" for family in THINGS}
    for tree in (PEOPLE, THINGS, THING_VERBS, PERSON_VERBS, PLACES, DAYS):
        for family, members in tree.items():
            table |= {member: family for member in members}
    return table


PARENT = _parents()
CHILDREN: dict[str, list[str]] = {}
for _child, _parent in PARENT.items():
    CHILDREN.setdefault(_parent, []).append(_child)


def is_a(narrow: str | None, wide: str | None) -> bool:
    """Say whether `narrow` is a case of `wide`; None means unrestricted."""
    if wide is None:
        return True
    while narrow is not None and narrow != wide:
        narrow = PARENT.get(narrow)
    return narrow is not None


@dataclass(frozen=True)
class Fact:
    """Who did, or did not do, what to whom or what, where and when."""

    quantifier: str
    subject: str
    verb: str
    object: str
    place: str | None = None
    day: str | None = None
    negative: bool = False
    role: str | None = None
    reporter: str | None = None
    attitude: str | None = None


def subject_entails(premise: Fact, hypothesis: Fact) -> bool:
    """Compare the subjects of two facts of one polarity."""
    if hypothesis.quantifier == "name":
        return (premise.quantifier, premise.subject) == ("name", hypothesis.subject)
    if hypothesis.quantifier in ("every", "no"):
        # Both quantifiers pass from a kind to its sub-kinds.
        same = premise.quantifier == hypothesis.quantifier
        return same and is_a(hypothesis.subject, premise.subject)
    kind = premise.role if premise.quantifier == "name" else premise.subject
    enough = COUNTS[premise.quantifier] >= COUNTS[hypothesis.quantifier]
    return enough and kind is not None and is_a(kind, hypothesis.subject)


def entails(premise: Fact, hypothesis: Fact) -> bool:
    """Say whether `hypothesis` follows from `premise`."""
    if premise.attitude in VEILED or premise.negative != hypothesis.negative:
        return False
    # A denial passes to more special events, an assertion to more general ones.
    narrow, wide = premise, hypothesis
    if premise.negative:
        narrow, wide = wide, narrow
    body = all(is_a(getattr(narrow, s), getattr(wide, s)) for s in SLOTS)
    return body and subject_entails(premise, hypothesis)


# ---------------------------------------------------------------- drawing


def _member(rng: random.Random, tree: dict[str, tuple[str, ...]], wide: float) -> str:
    """Draw a word of a taxonomy: its family with probability `wide`."""
    family = rng.choice(list(tree))
    return family if rng.random() < wide else rng.choice(tree[family])


def _draw_object(rng: random.Random, verb: str, taken: str) -> str:
    """Draw something that the verb can be done to."""
    if PARENT.get(verb, verb) in THING_VERBS:
        return "thing" if rng.random() < 0.08 else _member(rng, THINGS, 0.3)
    if rng.random() < 0.6:
        return rng.choice([name for name in NAMES if name != taken])
    return _member(rng, PEOPLE, 0.3)


def draw_fact(rng: random.Random) -> Fact:
    """Draw any fact of the grammar, stated without a reporter."""
    quantifier = rng.choices(list(COUNTS), (42, 18, 6, 4, 14, 16))[0]
    named = quantifier == "name"
    subject = rng.choice(NAMES) if named else _member(rng, PEOPLE, 0.4)
    verb = _member(rng, THING_VERBS if rng.random() < 0.6 else PERSON_VERBS, 0.25)
    return Fact(
        quantifier, subject, verb, _draw_object(rng, verb, subject),
        place=_member(rng, PLACES, 0.35) if rng.random() < 0.4 else None,
        day=_member(rng, DAYS, 0.35) if rng.random() < 0.35 else None,
        negative=quantifier == "no" or (named and rng.random() < 0.42),
    )


def _narrow(rng: random.Random, slot: str, word: str | None) -> str | None:
    """Draw the word or one of its special cases."""
    if word is None:
        tree = PLACES if slot == "place" else DAYS
        return _member(rng, tree, 0.3) if rng.random() < 0.3 else None
    while word in CHILDREN and rng.random() < 0.65:
        word = rng.choice(CHILDREN[word])
    return word


def _widen(rng: random.Random, slot: str, word: str | None) -> str | None:
    """Draw the word or one of its general cases."""
    while word in PARENT and rng.random() < 0.4:
        word = PARENT[word]
    if slot in ("place", "day") and rng.random() < 0.3:
        return None
    return word


def _shift_subject(rng: random.Random, fact: Fact, wide: bool) -> Fact:
    """Move a quantified subject to a wider or narrower kind."""
    shift = _widen if wide else _narrow
    if fact.quantifier == "name":
        return fact
    return replace(fact, subject=shift(rng, "subject", fact.subject))


def stronger(rng: random.Random, fact: Fact) -> Fact:
    """Draw a fact that entails `fact`."""
    shift = _widen if fact.negative else _narrow
    result = replace(fact, **{s: shift(rng, s, getattr(fact, s)) for s in SLOTS})
    result = _shift_subject(rng, result, wide=COUNTS[fact.quantifier] == 0)
    if fact.quantifier == "a" and rng.random() < 0.5:
        return _named(rng, result)
    if fact.quantifier in ("a", "two") and rng.random() < 0.4:
        result = replace(result, quantifier=rng.choice(("two", "three")))
    return result


def weaker(rng: random.Random, fact: Fact) -> Fact:
    """Draw a fact that `fact` entails, itself included."""
    shift = _narrow if fact.negative else _widen
    result = replace(fact, **{s: shift(rng, s, getattr(fact, s)) for s in SLOTS})
    return _shift_subject(rng, result, wide=COUNTS[fact.quantifier] > 0)


def _named(rng: random.Random, fact: Fact) -> Fact:
    """Put a person with a name in the place of one of a kind."""
    name = rng.choice([name for name in NAMES if name != fact.object])
    return replace(fact, quantifier="name", subject=name, role=fact.subject)


def _sibling(rng: random.Random, fact: Fact) -> Fact:
    """Replace one word by another of the same sort."""
    slot = rng.choice([s for s in ("subject", *SLOTS) if _peers(getattr(fact, s))])
    taken = (getattr(fact, slot), fact.subject, fact.object)
    others = [word for word in _peers(getattr(fact, slot)) if word not in taken]
    return replace(fact, **{slot: rng.choice(others)})


def _peers(word: str | None) -> Sequence[str]:
    """List the words of one sort and rank, none if the word stands alone."""
    if word in PARENT:
        return CHILDREN[PARENT[word]]
    ranks = (NAMES, *map(tuple, (THING_VERBS, PERSON_VERBS, PLACES, DAYS)))
    return next((rank for rank in ranks if word in rank), ())


def _flip(rng: random.Random, fact: Fact) -> Fact:
    """Turn an assertion into a denial or back."""
    if fact.quantifier == "name":
        return replace(fact, negative=not fact.negative)
    if fact.quantifier == "no":
        return replace(fact, quantifier=rng.choice(("a", "every")), negative=False)
    return replace(fact, quantifier="no", negative=True)


def _requantify(rng: random.Random, fact: Fact) -> Fact:
    """Say it of fewer, or of somebody else of the kind."""
    if fact.quantifier == "name":
        name = rng.choice([n for n in NAMES if n not in (fact.subject, fact.object)])
        return replace(fact, subject=name)
    lower = {"three": ("a", "two"), "two": ("a",), "every": ("a", "two"), "no": ()}
    options = lower.get(fact.quantifier, ())
    return replace(fact, quantifier=rng.choice(options)) if options else fact


def _swap(rng: random.Random, fact: Fact) -> Fact:
    """Exchange the one who acts and the one acted upon."""
    person = fact.object in NAMES or is_a(fact.object, "person")
    if not person or fact.quantifier not in ("name", "a"):
        return fact
    quantifier = "name" if fact.object in NAMES else "a"
    negative = fact.negative and quantifier == "name"
    return replace(fact, quantifier=quantifier, subject=fact.object, role=None,
                   object=fact.subject, negative=negative)


def _veil(rng: random.Random, fact: Fact) -> Fact:
    """Have somebody say it who may be wrong."""
    return _report(rng, fact, VEILED)


def _report(rng: random.Random, fact: Fact, attitudes: tuple[str, ...]) -> Fact:
    """Put the fact into somebody's mouth."""
    taken = (fact.subject, fact.object)
    reporter = rng.choice([name for name in NAMES if name not in taken])
    return replace(fact, reporter=reporter, attitude=rng.choice(attitudes))


BREAKS: tuple[tuple[Callable[[random.Random, Fact], Fact], int], ...] = (
    (_sibling, 34), (_flip, 14), (_requantify, 10), (_swap, 14), (_veil, 8),
    (weaker, 20),
)


def broken(rng: random.Random, hypothesis: Fact) -> Fact:
    """Draw a fact close to `hypothesis` that does not entail it."""
    while True:
        change = rng.choices([b for b, _ in BREAKS], [w for _, w in BREAKS])[0]
        start = hypothesis if change is weaker else stronger(rng, hypothesis)
        result = change(rng, start)
        if not entails(result, hypothesis):
            return result


# ------------------------------------------------------------- the premise


def _clash(one: Fact, other: Fact) -> bool:
    """Say whether two facts could contradict each other."""
    if one.negative == other.negative:
        return False
    strangers = one.subject in NAMES and other.subject in NAMES
    same_verb = is_a(one.verb, other.verb) or is_a(other.verb, one.verb)
    return same_verb and not (strangers and one.subject != other.subject)


def _beside(rng: random.Random, main: Fact, hypothesis: Fact) -> Fact:
    """Draw a fact to stand beside the main one, often confusable with it."""
    kind = rng.random()
    if kind < 0.35:
        other = _requantify(rng, rng.choice((main, hypothesis)))
        return _sibling(rng, other)
    if kind < 0.6:
        name = rng.choice([n for n in NAMES if n != main.object])
        return replace(main, quantifier="name", subject=name, role=None,
                       negative=main.negative and rng.random() < 0.5)
    other = draw_fact(rng)
    if kind < 0.85 and main.subject != other.object:
        negative = main.quantifier == "no" or (main.negative and other.negative)
        return replace(other, quantifier=main.quantifier, subject=main.subject,
                       role=main.role, negative=negative)
    return other


def _distractor(rng: random.Random, main: Fact, hypothesis: Fact) -> Fact:
    """Draw a fact that decides nothing about the hypothesis."""
    single = hypothesis
    if COUNTS[hypothesis.quantifier] > 1:
        # One person each in two sentences could add up to two people.
        single = replace(hypothesis, quantifier="a")
    while True:
        other = replace(_beside(rng, main, hypothesis), reporter=None, attitude=None)
        if _clash(main, other) or entails(other, single) or other == main:
            continue
        if rng.random() < 0.25:
            other = _report(rng, other, FACTIVE + VEILED)
        return other


def draw_premise(rng: random.Random, hypothesis: Fact, label: int) -> list[Fact]:
    """Draw the facts of a premise that has the given label."""
    make = stronger if label == ENTAILMENT else broken
    main = make(rng, hypothesis)
    if main.attitude is None and rng.random() < 0.15:
        main = _report(rng, main, FACTIVE)
    facts = [main]
    for _ in range(rng.choices((0, 1, 2), (30, 55, 15))[0]):
        facts.append(_distractor(rng, main, hypothesis))
    rng.shuffle(facts)
    return facts


# ----------------------------------------------------------------- wording


def _word(rng: random.Random, concept: str) -> str:
    """Choose among the words for a concept."""
    return rng.choice((concept, *SYNONYMS.get(concept, ())))


def _past(verb: str) -> tuple[str, str]:
    """Return the past tense and the participle."""
    regular = verb + ("d" if verb.endswith("e") else "ed")
    return IRREGULAR.get(verb, (regular, regular))


def _article(noun: str) -> str:
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def _noun_phrase(rng: random.Random, fact: Fact) -> str:
    """Word the subject."""
    if fact.quantifier == "name":
        name = fact.subject.capitalize()
        return name if fact.role is None else f"{name}, {_article(_word(rng, fact.role))},"
    noun = _word(rng, fact.subject)
    if fact.quantifier == "a":
        return _article(noun)
    return f"{fact.quantifier} {noun}" + ("s" if COUNTS[fact.quantifier] > 1 else "")


def _object_phrase(rng: random.Random, fact: Fact) -> str:
    """Word the object."""
    if fact.object == "thing":
        return "anything" if fact.negative else "something"
    if fact.object in NAMES:
        return fact.object.capitalize()
    return _article(_word(rng, fact.object))


def _settings(fact: Fact) -> tuple[str, str]:
    """Word the place and the day, each empty if there is none."""
    place = f"in {fact.place.capitalize()}" if fact.place else ""
    if fact.day in DAYS:
        return place, f"on a {fact.day}"
    return place, f"on {fact.day.capitalize()}" if fact.day else ""


def _active(rng: random.Random, fact: Fact) -> str:
    """Word the verb and what follows it."""
    verb = _word(rng, fact.verb)
    if fact.negative and fact.quantifier != "no":
        return f"did not {verb} {_object_phrase(rng, fact)}"
    return f"{_past(verb)[0]} {_object_phrase(rng, fact)}"


def _passive(rng: random.Random, fact: Fact) -> str:
    """Word the clause from the object's side."""
    auxiliary = "was not" if fact.negative else "was"
    participle = _past(_word(rng, fact.verb))[1]
    agent = _noun_phrase(rng, fact).rstrip(",")
    return f"{_object_phrase(rng, fact)} {auxiliary} {participle} by {agent}"


def _clause(rng: random.Random, fact: Fact) -> str:
    """Word the event without its reporter."""
    # "Something was bought by every baker" has two readings: keep it active.
    passive = fact.quantifier not in ("every", "no") and fact.object != "thing"
    if passive and rng.random() < 0.3:
        clause = _passive(rng, fact)
    else:
        clause = f"{_noun_phrase(rng, fact)} {_active(rng, fact)}"
    place, day = _settings(fact)
    if day and rng.random() < 0.3:
        return " ".join(f"{day} {clause} {place}".split())
    return " ".join(f"{clause} {place} {day}".split())


def word_fact(rng: random.Random, fact: Fact) -> str:
    """Word one fact, without capital and full stop."""
    clause = _clause(rng, fact)
    if fact.reporter is None:
        return clause
    return f"{fact.reporter.capitalize()} {fact.attitude} that {clause}"


def _joint(rng: random.Random, one: Fact, other: Fact) -> str | None:
    """Word two facts as one sentence where they share a part."""
    if one.attitude or other.attitude or "no" in (one.quantifier, other.quantifier):
        return None
    parts = ("verb", "object", "place", "day", "negative")
    same_event = all(getattr(one, p) == getattr(other, p) for p in parts)
    if same_event and not one.negative:
        both = f"{_noun_phrase(rng, one)} and {_noun_phrase(rng, other)}"
        return " ".join([both, _active(rng, one), *filter(None, _settings(one))])
    if one.subject == other.subject and one.quantifier == other.quantifier == "name":
        phrases = [
            " ".join([_active(rng, fact), *filter(None, _settings(fact))])
            for fact in (one, other)
        ]
        return f"{_noun_phrase(rng, one)} {' and '.join(phrases)}"
    return None


def word_premise(rng: random.Random, facts: list[Fact]) -> str:
    """Word the facts of a premise as one to three sentences."""
    rest, clauses = list(facts), []
    while rest:
        joint = _joint(rng, rest[0], rest[1]) if len(rest) > 1 else None
        clauses.append(joint or word_fact(rng, rest[0]))
        rest = rest[2:] if joint else rest[1:]
    if len(clauses) == 2 and rng.random() < 0.3:
        clauses = [f"{clauses[0]}, while {clauses[1]}"]
    return " ".join(_sentence(clause) for clause in clauses)


def _sentence(clause: str) -> str:
    return clause[0].upper() + clause[1:] + "."


# ------------------------------------------------------- pairs and stories


def draw_pair(rng: random.Random, label: int) -> tuple[str, str]:
    """Draw a premise and a hypothesis with the given label."""
    hypothesis = draw_fact(rng)
    premise = draw_premise(rng, hypothesis, label)
    return word_premise(rng, premise), _sentence(word_fact(rng, hypothesis))


def draw_story(rng: random.Random) -> tuple[str, str]:
    """Draw unlabelled text: some sentences and a retelling of one of them."""
    return draw_pair(rng, ENTAILMENT)


def alter_words(rng: random.Random, story: str, retelling: str) -> str | None:
    """Put other words of the same sort in the place of one or more, if any is known."""
    tokens = retelling.rstrip(".").lower().split()
    places = [i for i, token in enumerate(tokens) if token in WRITTEN]
    if not places:
        return None
    told = [w for w in story.lower().replace(".", "").split() if w in NAMES]
    for index in rng.sample(places, rng.randint(1, len(places))):
        tokens[index] = _other_word(rng, tokens[index], told)
        if index and tokens[index - 1] in ("a", "an"):
            tokens[index - 1] = _article(tokens[index]).split()[0]
    return _sentence(" ".join(tokens))


def _other_word(rng: random.Random, word: str, told: list[str]) -> str:
    """Draw another word of the same sort, for a name one that was told of."""
    # A name from the story is the mistake that is hardest to notice.
    near = told if word in NAMES and rng.random() < 0.5 else []
    options = [other for other in near if other != word]
    return rng.choice(options or [other for other in WRITTEN[word] if other != word])


def words() -> Iterator[str]:
    """Yield every word that the grammar can write, in lower case."""
    yield from "a an two three every no in on by and while that was did not".split()
    yield from ("person", "something", "anything", *NAMES, *FACTIVE, *VEILED)
    for tree in (PEOPLE, THINGS, PLACES, DAYS, THING_VERBS, PERSON_VERBS):
        for family, members in tree.items():
            for concept in (family, *members):
                yield from _forms(concept, tree)


def _forms(concept: str, tree: dict[str, tuple[str, ...]]) -> Iterator[str]:
    """Yield the words for a concept, in every form they are written in."""
    for word in (concept, *SYNONYMS.get(concept, ())):
        yield word
        if tree in (THING_VERBS, PERSON_VERBS):
            yield from _past(word)
        if tree is PEOPLE:
            yield word + "s"


def _written() -> dict[str, list[str]]:
    """Map each noun, name, place and day to the words written like it."""
    table = {name: list(NAMES) for name in NAMES}
    for tree in (PEOPLE, THINGS, PLACES, DAYS):
        every = [w for family, members in tree.items() for w in (family, *members)]
        table |= {word: every for word in every}
    for tree in (THING_VERBS, PERSON_VERBS):
        every = [w for family, members in tree.items() for w in (family, *members)]
        for tense in (lambda v: v, lambda v: _past(v)[0], lambda v: _past(v)[1]):
            table |= {tense(word): [tense(w) for w in every] for word in every}
    table |= {word: ["every", "no"] for word in ("every", "no")}
    return table


WRITTEN = _written()
