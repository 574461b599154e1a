"""What transformers renders from chat templates in the styles that published models use."""

import json
import os

import transformers
from transformers.utils.chat_template_utils import render_jinja_template

HERE = os.path.dirname(os.path.abspath(__file__))

TEMPLATES = {
    # Plain concatenation, with a default system message.
    "chatml": (
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}"
        "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    # Alternation is checked, the system message joins the first turn.
    "instruct": (
        "{%- if messages[0].role == 'system' %}{% set system = messages[0].content | trim + '\n\n' %}"
        "{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif -%}\n"
        "{{ bos_token }}{% for message in messages %}\n"
        "    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\n"
        "        {{- raise_exception('Roles must alternate user/assistant/user/...') }}\n"
        "    {%- endif %}\n"
        "    {%- if message.role == 'user' %}\n"
        "        {{- '[INST] ' ~ (system if loop.index0 == 0 else '') ~ message.content.strip() ~ ' [/INST]' }}\n"
        "    {%- elif message.role == 'assistant' %}\n"
        "        {{- ' ' + message['content'] | trim + ' ' + eos_token }}\n"
        "    {%- else %}{{ raise_exception('unknown role ' + message.role) }}{%- endif %}\n"
        "{%- endfor %}"
    ),
    # Blocks on lines of their own: trim_blocks and lstrip_blocks matter.
    "blocks": (
        "{% for m in messages %}\n"
        "    {% if m.role == 'user' %}\n"
        "User: {{ m.content }}\n"
        "    {% elif m.role == 'assistant' %}\n"
        "        {% generation %}\n"
        "Assistant: {{ m.content }}{{ eos_token }}\n"
        "        {% endgeneration %}\n"
        "    {% else %}\n"
        "\t{# a comment goes, with its line #}\n"
        "{{ m.role | upper }}: {{ m.content }}\n"
        "    {% endif %}\n"
        "{% endfor %}\n"
        "{% if add_generation_prompt %}\n"
        "Assistant:\n"
        "{%- endif %}"
    ),
    # Tools, JSON, a date, a namespace, macros, loop controls.
    "tools": (
        "{%- macro header(role) -%}<|start|>{{ role }}<|end|>\n\n{%- endmacro -%}\n"
        "{%- if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif -%}\n"
        "{%- set ns = namespace(found=false, calls=0) -%}\n"
        "{{- bos_token }}{{ header('system') }}\nToday: {{ date_string | length }} characters.\n"
        "{%- if tools is not none and tools %}\n# Tools\n{%- for tool in tools %}\n{{ tool | tojson }}\n"
        "{{- '\n' + tool.function | tojson(indent=2) }}\n{%- endfor %}\n{%- endif %}\n"
        "{%- for message in messages %}\n"
        "    {%- if message.role == 'system' %}{% continue %}{% endif %}\n"
        "    {%- if message.content is string %}\n"
        "        {{- header(message.role) + '\n' + message.content }}\n"
        "    {%- elif message.content is iterable %}\n"
        "        {{- header(message.role) }}\n"
        "        {%- for part in message.content if part.type == 'text' %}{{ part['text'] }}{% if not loop.last %}, {% endif %}{% endfor %}\n"
        "    {%- endif %}\n"
        "    {%- if message.tool_calls is defined and message.tool_calls %}\n"
        "        {%- for call in message.tool_calls %}\n"
        "            {%- set ns.calls = ns.calls + 1 %}\n"
        "            {{- '\n<call>' ~ {'name': call.function.name, 'arguments': call.function.arguments} | tojson ~ '</call>' }}\n"
        "        {%- endfor %}\n"
        "    {%- endif %}\n"
        "    {%- set ns.found = true %}\n"
        "    {%- if ns.calls > 1 %}{% break %}{% endif %}\n"
        "{%- endfor %}\n"
        "found={{ ns.found }} calls={{ ns.calls }} none={{ none }} list={{ [1, 'a', true, none, 1.5] }}"
        "{%- if add_generation_prompt %}{{ header('assistant') }}{% endif %}"
    ),
    # What Python's strings, lists and dicts can do.
    "python": (
        "{% for message in messages -%}\n"
        "{{ message.role.title() }}/{{ message['content'].upper()[:5] }}/{{ message.get('name', 'nobody') }}"
        "{% if 'code' in message.content and not message.content.startswith('#') %}!{% endif %}\n"
        "{{ message.content.split(' ') | join('_') }} {{ message.content.replace('o', '0') | length }}\n"
        "{{ (message.content | trim).lstrip('def') }} {{ message.content.rstrip() ~ '|' }}\n"
        "{% for key, value in message.items() if key != 'role' %}{{ key }}={{ value }};{% endfor %}\n"
        "{% endfor %}"
        "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}"
        "{{ messages | map(attribute='role') | unique | join(',') }}{{ messages[-1]['content'][-3:] }}"
        "{{ messages | rejectattr('role', 'in', ['user']) | list | length }}"
        "{{ '%s' % messages[0].role if false else '' }}{{ {'b': 1, 'a': 2} | dictsort }}{{ 7 // 2 }}{{ 7 / 2 }}{{ 2 ** 3 }}"
        "{{ range(3) | list }}{{ undefined_thing }}{{ (1, 2) }}{{ 'a' if add_generation_prompt else 'b' }}"
    ),
}

CALL = {"type": "function", "function": {"name": "get", "arguments": {"é": [1, 2.0, None], "q": "<a&'b\">"}}}
TOOL = {"type": "function", "function": {"name": "get", "description": "Gets <it> & \"more\".",
        "parameters": {"type": "object", "properties": {"q": {"type": "string"}}, "required": []}}}
CHATS = {
    "one": [{"role": "user", "content": "Write code for add."}],
    "system": [{"role": "system", "content": "  Be brief. "}, {"role": "user", "content": "hello world  "}],
    "turns": [
        {"role": "user", "content": "# code\nfoo"}, {"role": "assistant", "content": "def bar(): pass"},
        {"role": "user", "content": " again "}],
    "twice": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
    "calls": [
        {"role": "user", "content": "use it"},
        {"role": "assistant", "content": "", "tool_calls": [CALL, CALL]}, {"role": "tool", "content": "42"}],
    "parts": [{"role": "user", "content": [{"type": "text", "text": "p"}, {"type": "image"}, {"type": "text", "text": "q"}]}],
}
SPECIALS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}


def render(template, chat, prompt, tools):
    try:
        rendered, _ = render_jinja_template(
            [chat], tools=tools, chat_template=template, add_generation_prompt=prompt, **SPECIALS)
        return {"text": rendered[0]}
    except Exception as error:
        return {"error": str(error)}


if __name__ == "__main__":
    cases = []
    for name, template in TEMPLATES.items():
        for chat, messages in CHATS.items():
            for prompt in (False, True):
                tools = [TOOL] if name == "tools" and chat != "one" else None
                result = render(template, messages, prompt, tools)
                cases.append({"template": name, "chat": chat, "prompt": prompt, "tools": tools, **result})
    out = {"transformers": transformers.__version__, "specials": SPECIALS, "templates": TEMPLATES, "chats": CHATS, "cases": cases}
    with open(os.path.join(HERE, "expected.json"), "w") as file:
        json.dump(out, file, indent=1)
        file.write("\n")
