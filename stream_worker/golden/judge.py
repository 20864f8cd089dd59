"""Asks a model of an OpenAI-compatible server whether a sentence is true of a reply."""

import httpx2

from stream_worker.errors import Code, Missing

_ASK = (
    "Judge a chat bot's reply. Statement: {statement}\nReply: <reply>{reply}</reply>\n"
    "Is the statement true of the reply? Answer with YES or NO, then one short reason."
)


class ModelJudge:
    """`url` is the server's base, such as `http://127.0.0.1:8000/v1`."""

    def __init__(self, url: str, model: str, timeout_s: float = 60.0) -> None:
        self._url = f"{url.rstrip('/')}/chat/completions"
        self._model = model
        self._client = httpx2.Client(timeout=timeout_s)

    def __call__(self, statement: str, reply: str) -> str | None:
        """None where it is true, else the reason. Raises Missing where the server does not answer."""
        body = {
            "model": self._model,
            "temperature": 0,
            "messages": [{"role": "user", "content": _ASK.format(statement=statement, reply=reply)}],
        }
        try:
            response = self._client.post(self._url, json=body)
            response.raise_for_status()
            verdict = str(response.json()["choices"][0]["message"]["content"]).strip()
        except (httpx2.HTTPError, KeyError, IndexError, ValueError) as error:
            message = (
                f"the judge at {self._url} does not answer ({type(error).__name__}); leave --judge out without one"
            )
            raise Missing(Code.MODEL_NOT_FOUND, message) from error
        return None if verdict.upper().startswith("YES") else verdict
