"""Checks `vernier endpoint` with OpenAI's own Python client, then under load.

    python3 -m venv /tmp/client && /tmp/client/bin/pip install openai
    /tmp/client/bin/python tools/check_endpoint.py --url http://127.0.0.1:8000/v1 [--token T] [--seconds 60]

Prints one JSON object; exits with 1 where something is not as it should be. The load is `--clients`
threads with a client each, that ask one question after the other, half of them as streams; a request
is lost where it brings no whole answer. Nothing is tried twice: the client's own retries are off.
"""

import argparse
import json
import math
import sys
import threading
import time

import openai


def completes(client, model, prompt):
    asked = dict(model=model, prompt=prompt, max_tokens=12, temperature=0.7, seed=11, logprobs=3)
    whole = client.completions.create(**asked, extra_body={"return_token_ids": True})
    choice = whole.choices[0]
    assert choice.finish_reason in ("stop", "length"), choice
    assert whole.usage.completion_tokens == len(choice.token_ids) == len(choice.logprobs.tokens)
    assert all(value <= 0 and math.isfinite(value) for value in choice.logprobs.token_logprobs)
    assert all(token in top for token, top in zip(choice.logprobs.tokens, choice.logprobs.top_logprobs))
    chunks = list(client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].text for c in chunks if c.choices) == choice.text
    streamed = [value for c in chunks if c.choices for value in c.choices[0].logprobs.token_logprobs]
    assert streamed == choice.logprobs.token_logprobs
    assert chunks[-1].usage == whole.usage
    ids = client.completions.create(**asked | {"prompt": choice.prompt_token_ids})
    assert ids.choices[0].text == choice.text
    two = client.completions.create(model=model, prompt=[prompt, prompt * 2], n=2, max_tokens=3)
    assert [c.index for c in two.choices] == [0, 1, 2, 3]
    return {"text": choice.text, "weight_version": whole.weight_version}


def chats(client, model, prompt):
    messages = [{"role": "user", "content": prompt}]
    asked = dict(model=model, messages=messages, max_completion_tokens=12, seed=11, logprobs=True, top_logprobs=2)
    whole = client.chat.completions.create(**asked)
    choice = whole.choices[0]
    assert choice.message.role == "assistant"
    entries = choice.logprobs.content
    assert len(entries) == whole.usage.completion_tokens and all(len(e.top_logprobs) == 2 for e in entries)
    chunks = list(client.chat.completions.create(**asked, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == choice.message.content
    streamed = [e.logprob for c in chunks if c.choices[0].logprobs for e in c.choices[0].logprobs.content]
    assert streamed == [e.logprob for e in entries]
    assert chunks[-1].choices[0].finish_reason == choice.finish_reason
    return {"text": choice.message.content}


def refuses(client, model):
    for error, asked in (
        (openai.BadRequestError, dict(model=model, prompt="1", suffix="2")),
        (openai.BadRequestError, dict(model=model, prompt="1", temperature=-1)),
        (openai.NotFoundError, dict(model="another", prompt="1")),
    ):
        try:
            client.completions.create(**asked)
        except error as problem:
            assert problem.body["message"], problem
        else:
            raise AssertionError(f"{asked} was not refused")


class Load:
    def __init__(self, options, model, max_tokens):
        self.options, self.model, self.max_tokens = options, model, max_tokens
        self.until = time.monotonic() + options.seconds
        self.lock = threading.Lock()
        self.done, self.tokens, self.lost, self.first, self.whole = 0, 0, [], [], []

    def ask(self, client, number, streamed):
        begin, first, tokens = time.monotonic(), None, 0
        asked = dict(model=self.model, prompt=f"{self.options.prompt}{number}", max_tokens=self.max_tokens)
        if streamed:
            reason = None
            for chunk in client.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
                first = first or time.monotonic() - begin
                if chunk.choices:
                    reason = chunk.choices[0].finish_reason or reason
                else:
                    tokens = chunk.usage.completion_tokens
        else:
            answer = client.completions.create(**asked)
            reason, tokens = answer.choices[0].finish_reason, answer.usage.completion_tokens
        assert reason in ("stop", "length") and tokens > 0, (reason, tokens)
        with self.lock:
            self.done += 1
            self.tokens += tokens
            self.whole.append(time.monotonic() - begin)
            if first:
                self.first.append(first)

    def client(self, number):
        client = client_of(self.options)
        count = 0
        while time.monotonic() < self.until:
            try:
                self.ask(client, (number * 7 + count) % 10, (number + count) % 2 == 0)
            except Exception as problem:
                with self.lock:
                    self.lost.append(f"{type(problem).__name__}: {problem}"[:200])
            count += 1

    def run(self):
        begin = time.monotonic()
        threads = [threading.Thread(target=self.client, args=(i,)) for i in range(self.options.clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - begin

        def at(values, share):
            return round(sorted(values)[int(share * (len(values) - 1))], 4) if values else None

        return {
            "clients": self.options.clients, "seconds": round(seconds, 2), "requests": self.done,
            "lost": len(self.lost), "first_losses": self.lost[:3], "tokens": self.tokens,
            "tokens_per_s": round(self.tokens / seconds, 1),
            "request_s": {"p50": at(self.whole, 0.5), "p99": at(self.whole, 0.99)},
            "first_token_s": {"p50": at(self.first, 0.5), "p99": at(self.first, 0.99)},
        }


def client_of(options):
    return openai.OpenAI(base_url=options.url, api_key=options.token, max_retries=0, timeout=600)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--token", default="none")
    parser.add_argument("--prompt", default="2+3=", help="in characters that the model has")
    parser.add_argument("--no-chat", action="store_true", help="the model's vocabulary has no chat format's tags")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--max-tokens", type=int, default=16)
    options = parser.parse_args()
    client = client_of(options)
    model = client.models.list().data[0].id
    out = {"client": openai.__version__, "model": client.models.retrieve(model).id}
    out["completion"] = completes(client, model, options.prompt)
    if not options.no_chat:
        out["chat"] = chats(client, model, options.prompt)
    refuses(client, model)
    out["load"] = Load(options, model, options.max_tokens).run()
    print(json.dumps(out, indent=1))
    return 1 if out["load"]["lost"] or not out["load"]["requests"] else 0


if __name__ == "__main__":
    sys.exit(main())
