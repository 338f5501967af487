"""CollectFacts: questions about countries, chemical elements and small sums, with answers that a checker can judge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import field_validator

from pipeline import Context, Field, Stage
from pipeline.errors import SourceError
from pipeline.manifest import SourceRecord
from stages.kinds import Chats
from stages.sources import Source, as_source

if TYPE_CHECKING:
    from stages.facts.questions import Question

COUNTRIES = Source(
    at="pypi:countryinfo==1.0.1/countryinfo/data/*.json",
    sha256="2d97586f2ff62834214082cf8538ff2bf5ed4c1cf9f930dcfa0890f3924ad17b",
    licence="MIT",
)
ELEMENTS = Source(
    at="pypi:periodictable==2.1.0/periodictable/core.py",
    sha256="30c53e0b5757181144cbf6472c72c9d3de19188991bf4c64681458c6fc9d3da0",
    licence="public domain",
)

SUMS = "sums"
"""What the source of the questions that no table holds is called."""


class CollectFacts(Stage[Chats]):
    """Turn fact tables into chats. Whole phrasings are held out for facts, and pairs of operands for sums.

    Which phrasings and pairs are held out is fixed, so that no setting moves a question from one side to the other.
    Every chat's metadata says its category, split, answer, source and checker (a name in ``stages.facts.checkers``).
    """

    shows = ("train", "heldout")

    countries: Source = Field(default=COUNTRIES, description="countryinfo's data files, one JSON object a country")
    elements: Source = Field(default=ELEMENTS, description="periodictable's core.py, read as a literal and never run")
    capitals: int = Field(default=80, ge=0, description="ask for the capital of so many of the most populous countries")
    currencies: int = Field(
        default=20, ge=0, description="ask for the currency code of so many of them that have just one"
    )
    symbols: int = Field(default=30, ge=0, description="ask for the symbols of the first so many elements")
    largest_operand: int = Field(
        default=490, ge=-1, le=9990, description="ask for sums of 0, 10, … this and a digit; -1 for no sums"
    )

    @field_validator("countries", "elements", mode="before")
    @classmethod
    def _source(cls, value: object) -> object:
        return as_source(value)

    def sources(self) -> dict[str, SourceRecord]:
        sums = {SUMS: SourceRecord(at="corpusmill:sums", licence="Apache-2.0")} if self.largest_operand >= 0 else {}
        return {one.called: one.record() for one in (self.countries, self.elements)} | sums

    def run(self, out: Chats, ctx: Context) -> None:
        """One shard: training questions first, held-out ones after them."""
        from stages.text.origins import by_source, from_sources
        from stages.tuning import conversations
        from stages.tuning.conversations import Chat, dialogue

        questions = sorted(self._questions(), key=lambda question: question.split == "heldout")
        chats = [
            Chat(
                dialogue(asked.text, asked.answer),
                asked.category,
                asked.split,
                asked.answer,
                asked.checker,
                self._from(asked.category),
            )
            for asked in questions
        ]
        conversations.write(out.path / "part-00000.parquet", chats)
        heldout = sum(chat.split == "heldout" for chat in chats)
        ctx.log(chats=len(chats), train=len(chats) - heldout, heldout=heldout)
        asked = by_source(chat.source for chat in chats if chat.split == "train")
        ctx.log(**from_sources("chats", [asked]))

    def _from(self, category: str) -> str:
        """The source of the questions of a category."""
        made = {"element": self.elements.called, "sum": SUMS}
        return made.get(category, self.countries.called)

    def _questions(self) -> list[Question]:
        from stages.facts import questions, tables

        try:
            countries = tables.countries(self.countries.files().values())
            elements = [element for file in self.elements.files().values() for element in tables.elements(file)]
        except (ValueError, KeyError, SyntaxError) as fault:
            raise SourceError(
                f"a fact table is not as expected: {fault}", mend="use the versions this stage names"
            ) from fault
        single = [country for country in countries if country.currency]
        return [
            *questions.capitals(countries[: self.capitals]),
            *questions.currencies(single[: self.currencies]),
            *questions.symbols(elements[: self.symbols]),
            *questions.sums(self.largest_operand),
        ]
