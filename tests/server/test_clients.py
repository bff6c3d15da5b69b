"""Other people's clients, against a server with the shipped model.

INKHORN_CLIENTS_PYTHON may name the Python of an environment that has them; a client that is not installed is skipped.
"""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from helpers.server_process import run_server

PROGRAMS = {
    "langchain_openai": """
from langchain_openai import ChatOpenAI, OpenAI
options = dict(base_url=url, api_key="none", model="shakespeare", max_tokens=20)
texts = [OpenAI(**options).invoke(prompt), ChatOpenAI(**options).invoke(prompt).content]
texts.append("".join(chunk.content for chunk in ChatOpenAI(**options).stream(prompt)))
""",
    "litellm": """
import litellm
options = dict(api_base=url, api_key="none", max_tokens=20)
texts = [litellm.text_completion(model="text-completion-openai/shakespeare", prompt=prompt, **options).choices[0].text]
messages = [{"role": "user", "content": prompt}]
chat = litellm.completion(model="openai/shakespeare", messages=messages, **options)
texts.append(chat.choices[0].message.content)
""",
    "pydantic_ai": """
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
model = OpenAIChatModel("shakespeare", provider=OpenAIProvider(base_url=url, api_key="none"))
texts = [Agent(model, model_settings={"max_tokens": 20}).run_sync(prompt).output]
""",
    "smolagents": """
from smolagents import OpenAIServerModel
model = OpenAIServerModel(model_id="shakespeare", api_base=url, api_key="none", max_tokens=20)
texts = [model([{"role": "user", "content": [{"type": "text", "text": prompt}]}]).content]
""",
    "llama_index.llms.openai_like": """
from llama_index.llms.openai_like import OpenAILike
texts = [OpenAILike(model="shakespeare", api_base=url, api_key="none", max_tokens=20).complete(prompt).text]
""",
    "haystack": """
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.utils import Secret
options = dict(api_key=Secret.from_token("none"), api_base_url=url, generation_kwargs={"max_tokens": 20})
generator = OpenAIChatGenerator(model="shakespeare", **options)
texts = [generator.run([ChatMessage.from_user(prompt)])["replies"][0].text]
""",
    "instructor": """
import instructor, openai, pydantic
class Name(pydantic.BaseModel):
    name: str
client = instructor.from_openai(openai.OpenAI(base_url=url, api_key="none"))
messages = [{"role": "user", "content": prompt}]
try:
    client.chat.completions.create(model="shakespeare", response_model=Name, max_retries=0, messages=messages)
    texts = [""]
except Exception as error:
    assert "tools" in str(error), error
    texts = ["refused"]
""",
}
START = """
import importlib, sys
url, prompt = sys.argv[1] + "/v1", "ROMEO:"
try:
    importlib.import_module(sys.argv[2])
except ImportError:
    sys.exit(77)
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with run_server() as server:
        yield server.url


@pytest.mark.slow
@pytest.mark.parametrize("client", PROGRAMS)
def test_client(url: str, client: str) -> None:
    python = os.environ.get("INKHORN_CLIENTS_PYTHON", sys.executable)
    program = f"{START}{PROGRAMS[client]}\nassert texts and all(texts), texts\n"
    offline = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    offline |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "HAYSTACK_TELEMETRY_ENABLED": "False", "OPENAI_API_KEY": "none"}
    command = [python, "-W", "ignore", "-c", program, url, client]
    done = subprocess.run(command, env=offline, capture_output=True, text=True, timeout=600)
    if done.returncode == 77:
        pytest.skip(f"{client} is not installed")
    assert done.returncode == 0, done.stderr[-2000:]
