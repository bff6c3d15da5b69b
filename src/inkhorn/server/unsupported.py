"""Request fields of other servers that promise something about the output, which this server cannot keep.

They are refused by name: ignoring them would return free text as a success to a client that asked for JSON or a tool
call. A value that asks for nothing, such as an empty list of tools, is accepted. All other unknown fields are ignored,
with a warning in the answer.
"""

from collections.abc import Mapping
from typing import Any

from inkhorn.server.errors import ApiError

_NOTHING: tuple[Any, ...] = (None, False, "", [], {})
_TOOLS = "these models cannot call tools: leave it out"
_FORMAT = "the output cannot be constrained to a format: leave it out, and check the text that you get"
_TEXT_ONLY = "these models read and write text only: leave it out"
_STATELESS = "this server keeps no conversations: send the whole text with each request"

_UNSUPPORTED: dict[str, tuple[str, tuple[Any, ...]]] = {
    "tools": (_TOOLS, ()),
    "tool_choice": (_TOOLS, ("none", "auto")),
    "functions": (_TOOLS, ()),
    "function_call": (_TOOLS, ("none", "auto")),
    **dict.fromkeys(("web_search_options", "tool_calls", "tool_call_id"), (_TOOLS, ())),
    "echo": ("send the text to /v1/completions with echo instead", ()),  # of chat; completions have it
    "response_format": (_FORMAT, ({"type": "text"},)),
    **dict.fromkeys(
        (
            *("guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs"),
            *("json_schema", "grammar", "regex", "allowed_token_ids", "bad_words"),
        ),
        (_FORMAT, ()),
    ),
    "modalities": (_TEXT_ONLY, (["text"],)),
    **dict.fromkeys(("audio", "image", "images", "image_data"), (_TEXT_ONLY, ())),
    "moderation": ("this server does not moderate texts: leave it out", ()),
    "prompt_logprobs": ("use echo with logprobs on /v1/completions instead", ()),
    "use_beam_search": ("there is no beam search: use best_of, or temperature 0", ()),
    "include_stop_str_in_output": ("a text ends before its stop string: leave it out", ()),
    "skip_special_tokens": ("special tokens are not part of the text: leave it out", (True,)),
    "truncate_prompt_tokens": ("a long prompt is continued from its last tokens: leave it out, or cut it", (-1,)),
    "return_token_ids": ("use logprobs, and /tokenize for token ids", ()),
    "add_generation_prompt": ("the messages are joined as text: leave it out", (True,)),
    "continue_final_message": ("the text is always continued: leave it out", (True,)),
    "background": ("there are no background requests: leave it out", ()),
    "previous_response_id": (_STATELESS, ()),
    "conversation": (_STATELESS, ()),
    "context_management": (_STATELESS, ()),
}
"""Why a field is refused, and the values, beside those of `_NOTHING`, that ask for nothing."""


def refuse_unsupported(fields: Mapping[str, Any], where: str = "") -> None:
    """Raise ApiError 400 for a field that asks for what the server cannot do.

    Args:
        fields: the fields of a request, or of an object in it, that the schema does not have.
        where: the path of the object, such as `messages[0].`.
    """
    for name, value in fields.items():
        reason, neutral = _UNSUPPORTED.get(name, ("", ()))
        if reason and not any(type(value) is type(each) and value == each for each in (*_NOTHING, *neutral)):
            raise ApiError(400, f"{where}{name}: {reason}", param=name, code="unsupported_parameter")
