"""The small words that a dialogue hangs on, by language: data, and how they are found in a text. Pure.

A language that is not here has none of them: slots are still carried over and
forms still asked, but "no, I meant" and "there" mean nothing in it.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from stream_worker.bot.bot import SlotKind


@dataclass(frozen=True, slots=True)
class Words:
    """Regular expressions of one language, matched without regard to case."""

    correction: str
    """How a message begins that corrects what was understood."""
    negation: str
    """What stands right before a value that is not meant."""
    refers: dict[SlotKind, str]
    """What stands for the last value of a kind."""
    ordinals: tuple[str, ...]
    """First, second, ..."""
    last: str
    yes: str
    no: str
    cancel: str
    """How somebody breaks off what is being asked."""
    agrees: str
    """How a message begins that says yes to what was said right before."""
    takes: str
    """How somebody takes what was offered, perhaps a while ago."""
    declines: str
    """What shows that something else is wanted than what was offered."""
    same: str
    """What stands right before the name of a slot whose last value is meant."""


_ENGLISH = Words(
    correction=r"^\W*(?:(?:oh|oops|sorry|wait|hmm|ah)\W+)*"
    r"(?:no|nope|not|actually|rather|i meant?|i mean|i said|i was asking|correction|make (?:it|that)|"
    r"change (?:it|that))\b",
    negation=r"(?:\bnot|n't|\bno|\bwithout|\bexcept|\binstead of|\banything but)"
    r"(?:\s+(?:in|to|for|at|on|from|the|about|want|mean|need|like|going|go|a|an))*\s*$",
    refers={
        # Not the one of "is there" and "there are".
        SlotKind.PLACE: r"(?<!\bis )(?<!\bare )(?<!\bwas )(?<!\bwere )(?<!\bbe )(?<!\bhi )(?<!\bhello )(?<!\bhey )"
        r"\bthere\b(?!['’ ]?(?:s|is|are|was|were|will be|would be|any|has|have|seems?)\b)"
        r"|\b(?:that|the same) (?:city|place|town|area|location)\b|\bin the area\b|\bnearby\b",
        SlotKind.DATE: r"\b(?:that|the same) (?:day|date|evening|morning|night|week)\b",
        # Not the one of "what about Friday, then".
        SlotKind.TIME: r"\b(?:by|until|till|before|after|since|around|for|at|on|back|free|open) then\b"
        r"|\b(?:that|the same) time\b",
        SlotKind.PERSON: r"\b(?:him|her|them|that person|the same person)\b",
        # Not the one of "it should be cheap".
        SlotKind.THING: r"\bit\b(?!['’ ]?(?:s|is|was|has|had|have|should|would|will|ll|d|can|could|may|might|must|"
        r"does|do|needs?|to|be|seems?|sounds?|looks?|matters?|doesn|isn|wasn)\b)|\b(?:that|this) one\b|"
        r"\bthe same(?: one)?\W*$",
    },
    ordinals=(
        r"\b(?:the )?(?:first|1st|former)(?: one)?\b|^\W*(?:number|option|no\.?)?\s*1\W*$",
        r"\b(?:the )?(?:second|2nd|latter)(?: one)?\b|^\W*(?:number|option|no\.?)?\s*2\W*$",
        r"\b(?:the )?(?:third|3rd)(?: one)?\b|^\W*(?:number|option|no\.?)?\s*3\W*$",
        r"\b(?:the )?(?:fourth|4th)(?: one)?\b|^\W*(?:number|option|no\.?)?\s*4\W*$",
        r"\b(?:the )?(?:fifth|5th)(?: one)?\b|^\W*(?:number|option|no\.?)?\s*5\W*$",
    ),
    last=r"\bthe last(?: one)?\b",
    yes=r"^\W*(?:yes|yeah|yep|yup|sure|ok|okay|right|correct|please do|go ahead|of course|exactly|do it)\b",
    no=r"^\W*(?:no|nope|nah|not really|don't|do not|wrong|incorrect)\b",
    cancel=r"\b(?:never ?mind|forget (?:it|about it|that)|cancel (?:it|that|this)|stop (?:it|that|this)|"
    r"i changed my mind|leave it)\b|^\W*(?:cancel|stop|quit|abort)\W*$",
    agrees=r"^\W*(?:(?:oh|ah|hmm|well|great|thanks?|thank you)\W+)*(?:yes|yeah|yep|yup|yea|ye|sure|ok|okay|alright|"
    r"all right|right|correct|fine|great|good|nice|cool|perfect|awesome|excellent|wonderful|super|deal|exactly|"
    r"of course|certainly|definitely|absolutely|go ahead|please do|do it)\b",
    takes=r"\b(?:that|this|it|which)(?:['’]?(?:s|d|ll)|\s+(?:is|would|will))?(?:\s+be)?(?:\s+(?:sounds?|looks?|seems?))?\s+"
    r"(?:(?:very|really|just|all|perfectly|pretty|absolutely|like)\s+)*"
    r"(?:good|great|fine|nice|ok|okay|perfect|right|correct|works?|lovely|excellent|awesome|wonderful|cool|interesting|"
    r"fun|a plan)\b|"
    r"\b(?:sounds?|looks?|seems?) (?:(?:very|really|like) )?(?:good|great|fine|nice|perfect|right|lovely|a plan|fun|"
    r"interesting)\b|\bworks for me\b|\bthe one i (?:want|meant|like)\b|"
    r"\bi(?:['’]?d| would)? (?:like|love|take) (?:it|that|this|them)\b|\bi(?:['’]?ll| will) take\b|"
    r"\bgo (?:ahead )?with (?:it|that|this|them)\b|\b(?:book|reserve|buy|order) (?:it|that|this|them)\b",
    declines=r"^\W*(?:no|nope|nah|not really|wrong|incorrect)\b|n['’]t\b|\bnot\b|"
    r"\b(?:another|others?|different|else|instead|rather|besides|alternatives?|something more|anything more)\b",
    same=r"same",
)
_CHINESE = Words(
    correction=r"^\W*(?:哦|啊|呃|抱歉|对不起|等等|不好意思)?[，,\s]*"
    r"(?:不是|不对|不，|不,|错了|我是说|我的意思是|我说的是|我指的是|应该是|改成|换成|我想问的是)",
    negation=r"(?:不是|不要|不去|不在|别|除了|而不是|不想要|不用)(?:去|在|到|要|给)?\s*$",
    refers={
        SlotKind.PLACE: r"那里|那儿|那边|那个(?:城市|地方)|当地|同一个(?:城市|地方)",
        SlotKind.DATE: r"那天|那一天|当天|同一天",
        SlotKind.TIME: r"那时候?|到时候?|同一时间",
        SlotKind.PERSON: r"他们|她们|他|她|那个人",
        # Not the one of "那个城市".
        SlotKind.THING: r"(?:那个|这个|同一个)(?=$|[\s，。！？、,.!?吧呢吗的])|它",
    },
    ordinals=(
        r"第一[个家种项位]?|前者|^\W*(?:选|选择)?\s*[1一]\W*$",
        r"第二[个家种项位]?|后者|^\W*(?:选|选择)?\s*[2二]\W*$",
        r"第三[个家种项位]?|^\W*(?:选|选择)?\s*[3三]\W*$",
        r"第四[个家种项位]?|^\W*(?:选|选择)?\s*[4四]\W*$",
        r"第五[个家种项位]?|^\W*(?:选|选择)?\s*[5五]\W*$",
    ),
    last=r"最后(?:一[个家种项位]|那[个家种])",
    yes=r"^\W*(?:是的?|好的?|对的?|可以|行|没错|嗯|确认|当然|没问题)",
    no=r"^\W*(?:不是|不要|不用|不行|不对|不了|不|没有|算了)",
    cancel=r"算了|不用了|取消(?:吧|它|这个)?|别管了|不(?:订|办|查|弄)了|我改主意了",
    agrees=r"^\W*(?:嗯|哦|那|那就)*[，,\s]*(?:是的?|好的?|对的?|可以|行|没错|没问题|当然|不错)",
    takes=r"就(?:要|选|订|去|是)?(?:这|那|它)|挺好|听起来不错|(?:订|要|选|买)(?:这|那|它)",
    declines=r"^\W*(?:不|别|没有(?!问题))|不(?!错|过)|别的|其他|其它|另外|另一|换",
    same=r"(?:同样的?|相同的?|一样的?|同一个?)",
)
_WORDS = {"en": _ENGLISH, "zh": _CHINESE}


@dataclass(frozen=True, slots=True)
class Ear:
    """Hears the words of a bot's languages: any of them, as the language of a short message is a guess."""

    words: tuple[Words, ...]

    def corrects(self, text: str) -> bool:
        return any(_found(each.correction, text) for each in self.words)

    def denies(self, text: str, start: int) -> bool:
        """Whether the value that begins at `start` is one that is not meant."""
        before = text[max(0, start - 40) : start]
        return any(_found(each.negation, before) for each in self.words)

    def refers_to(self, text: str) -> frozenset[SlotKind]:
        """The kinds of values that the text speaks of without naming them."""
        return frozenset(kind for each in self.words for kind, words in each.refers.items() if _found(words, text))

    def references(self, text: str) -> list[tuple[SlotKind, int, int]]:
        """Where the text speaks so, and of which kind: "there", "那里"."""
        return [
            (kind, *found.span())
            for each in self.words
            for kind, words in each.refers.items()
            for found in _compiled(words).finditer(text)
        ]

    def place_of(self, text: str, options: int) -> int | None:
        """The place, from 0, among so many options that the text chooses; None for none or one too far."""
        for each in self.words:
            if options and _found(each.last, text):
                return options - 1
            for place, words in enumerate(each.ordinals[:options]):
                if _found(words, text):
                    return place
        return None

    def agreed(self, text: str) -> bool | None:
        """True for yes, False for no, None for neither."""
        if any(_found(each.no, text) for each in self.words):
            return False
        return True if any(_found(each.yes, text) for each in self.words) else None

    def accepts(self, text: str, *, at_once: bool) -> bool:
        """Whether the text takes what was offered, as it is; `at_once`: right before, so that a mere yes will do."""
        if any(_found(each.declines, text) for each in self.words):
            return False
        return any(_found(each.takes, text) or (at_once and _found(each.agrees, text)) for each in self.words)

    def same(self, text: str, name: str) -> bool:
        """Whether the text speaks of the same value of a slot by its name: "the same price range"."""
        spoken, named = _RUN.sub("", text.casefold()), _RUN.sub("", name.casefold())
        return bool(named) and any(_found(f"{each.same}{re.escape(named)}", spoken) for each in self.words)

    def cancels(self, text: str) -> bool:
        return any(_found(each.cancel, text) for each in self.words)


_RUN = re.compile(r"[\s_-]+")


@lru_cache(maxsize=256)
def ear_for(languages: tuple[str, ...]) -> Ear:
    return Ear(tuple(_WORDS[language] for language in languages if language in _WORDS))


@lru_cache(maxsize=1024)
def _compiled(words: str) -> re.Pattern[str]:
    return re.compile(words, re.IGNORECASE)


def _found(words: str, text: str) -> bool:
    return _compiled(words).search(text) is not None
