"""How much of the chat-completions interface a judge's server speaks, and how to ask for less when it objects."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mot_trl.rewards.judge.prompt import Question

FORMATS = ("json_schema", "json_object", "word")
"""From the reply the server must make valid, over one that is some JSON object, to one bare word."""


@dataclass(frozen=True)
class Dialect:
    """The optional parts of a request: the form of the reply, temperature 0, and the name of the token limit."""

    form: str = FORMATS[0]
    temperature: bool = True
    limit: str = "max_completion_tokens"

    def request(self, question: Question, *, model: str, max_reply_tokens: int) -> dict[str, Any]:
        """The JSON body of a chat-completions request."""
        body: dict[str, Any] = {"model": model, "messages": question.messages(as_json=self.form != "word")}
        body[self.limit] = max_reply_tokens
        if self.temperature:
            body["temperature"] = 0
        if self.form == "json_schema":
            schema = {"name": "verdict", "strict": True, "schema": question.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if self.form == "json_object":
            body["response_format"] = {"type": "json_object"}
        return body

    def simpler(self, complaint: str = "") -> "Dialect | None":
        """The next dialect to try after a server's `complaint`, the text of its 4xx error; None where none is left.

        What the complaint names is given up first. Other complaints, and unreadable verdicts, cost the reply's form.
        """
        complaint = complaint.lower()
        if self.temperature and "temperature" in complaint:
            return replace(self, temperature=False)
        if self.limit == "max_completion_tokens" and "max_completion_tokens" in complaint:
            return replace(self, limit="max_tokens")
        if self.form == FORMATS[-1]:
            return None
        return replace(self, form=_after(FORMATS, self.form))


def _after(names: Sequence[str], name: str) -> str:
    return names[names.index(name) + 1]
