"""What Python's Jinja prints for chat templates, for src/tokenizer/jinja/recorded.test.ts.

    pip install transformers jinja2
    python3 scripts/chat_templates.py            write test/data/chat-templates.json
    python3 scripts/chat_templates.py --check    fail where that file is not what this writes

Each template is compiled in transformers' own environment and given the same variables, a fixed time among them. Recorded is
the text, or the error that Python raises.
"""

import argparse
import copy
import datetime
import json
import pathlib

from transformers.utils import chat_template_utils

OUTPUT = pathlib.Path(__file__).resolve().parent.parent / "test/data/chat-templates.json"
NOW = datetime.datetime(2024, 7, 4, 8, 5, 9)

VARIABLES = {
    "bos_token": "<s>",
    "yes": True,
    "no": False,
    "nothing": None,
    "whole": 7,
    "real": 0.1,
    "text": "Grüße, it's \"fine\" <b>\n",
    "words": ["b", "a", "C", "a"],
    "mixed": [True, None, 3, 2.5, "x", [1], {"k": None}],
    "deep": {"name": "get", "items": 3, "list": [{"n": 2, "on": True}, {"n": 1, "on": False}, {"n": 3, "on": True}]},
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": " Why? ", "tool_calls": None},
        {"role": "assistant", "content": "Because 🙂", "tool_calls": [
            {"type": "function", "function": {"name": "get_time", "arguments": {"zone": "Zürich", "exact": True, "n": 1.5}}}]},
    ],
    "tools": [{"type": "function", "function": {"name": "get_time", "description": "The <time>", "parameters": {
        "type": "object", "properties": {"zone": {"type": "string", "enum": ["a", "b"]}}, "required": []}}}],
    "add_generation_prompt": True,
}

TEMPLATES = r"""
{{ yes }} {{ no }} {{ nothing }} {{ true }} {{ False }} {{ None }}
{{ yes ~ no ~ nothing }}{{ 'x' ~ 1 ~ 2.0 ~ [true] }}
{{ yes | string }}{{ nothing | string }}{{ mixed | string }}
{{ mixed }} {{ deep }} {{ (1, 'a') }} {{ (1, 2)[:1] }} {{ {} }} {{ [] }}
{{ text }}|{{ [text] }}|{{ ["it's", 'say "x"', "both ' and \"", '\t\\', '\x07\xa0'] }}
{{ 1.0 }} {{ 0.1 + 0.2 }} {{ 100000000000000000000.0 }} {{ 123456789012345680.0 }} {{ 1.0 / 3 }} {{ 0.0001 }} {{ 0.00001 }} {{ 1.5 * 2 }}
{{ 1 / 2 }} {{ 4 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7.5 % 2 }} {{ 2 ** 3 }} {{ 2 ** -1 }}
{{ undefined_name }}|{{ deep.nothing_there }}|{{ words[9] }}|{{ deep['x'] }}|{{ whole.x }}
{{ undefined_name.x }}
{{ undefined_name + 'a' }}
{{ nothing + 'a' }}
{{ 'a' + 1 }}
{{ 'a' ~ undefined_name ~ 'b' }}
{{ messages | tojson }}
{{ tools | tojson(indent=4) }}
{{ tools | tojson(indent=2, ensure_ascii=True) }}
{{ messages[2] | tojson(ensure_ascii=True) }}
{{ deep | tojson(separators=(',', ':')) }}{{ deep | tojson(sort_keys=true, indent=1) }}
{{ {'b': 1.0, 'a': (1, none), 2: true} | tojson }}{{ '</a> & \u2028' | tojson }}{{ [] | tojson(indent=2) }}{{ {} | tojson(indent=2) }}
{{ undefined_name | tojson }}
{{ '%s and %s' | format('a', true) }} {{ '%(a)s' | format(a=none) }} {{ '%d%%' | format(3.9) }}
{{ '%s|%r|%5d|%-5s|%05d|%+d|%.2f|%x|%X|%c' % (none, 'a', 42, 'ab', 42, 42, 2.675, 255, 255, 'z') }}
{{ '%.1f %.0f %.0f %.3s' % (0.25, 2.5, 3.5, 'abcdef') }} {{ '%s' % 'one' }} {{ '%s' % [1] }}
{{ '%s %s' % ('one',) }}
{{ '%d' % 'one' }}
{{ '{} {1}' .format(1, 2) }}
{{ '{} {} {x!r}'.format(1, true, x='q') }} {{ '{:>6}|{:<6}|{:^6}|{:*^7}'.format('a', 'b', 'c', 'd') }}
{{ '{:05d} {:,} {:.3f} {:x} {:+} {:8.2f} {:.1%}'.format(42, 1234567, 2.0, 255, 3, 2.5, 0.125) }}
{{ 'hello WORLD it\'s' | title }} {{ 'hello WORLD' | capitalize }} {{ "they're bill's".title() }} {{ 'ab CD'.capitalize() }}
{{ '  x\t\n' | trim }}|{{ 'xxaxx' | trim('x') }}|{{ '\x1c x \xa0'.strip() }}|{{ 'abcba'.strip('ab') }}|{{ ' a '.rstrip() }}|{{ ' a '.lstrip() }}
{{ 'a,b,,c'.split(',') }} {{ ' a  b c '.split() }} {{ ' a b  c '.split(none, 1) }} {{ 'a.b.c'.rsplit('.', 1) }} {{ ' a b c '.rsplit(none, 1) }}
{{ 'a\nb\r\nc\n'.splitlines() }} {{ 'k=v=w'.partition('=') }} {{ 'k=v=w'.rpartition('=') }} {{ ', '.join(words) }}
{{ 'abc'.replace('b', 'x') }}{{ 'aaa'.replace('a', 'b', 2) }}{{ 'abc' | replace('c', 'd') }}{{ 'aaa' | replace('a', 'b', 1) }}{{ 'ab'.replace('', '-') }}
{{ 'abcabc'.find('c') }} {{ 'abc'.find('x') }} {{ 'abcabc'.rfind('c') }} {{ 'abcabc'.count('bc') }} {{ 'a🙂b'.index('b') }} {{ 'a🙂b' | length }} {{ 'a🙂b'[1] }}{{ 'a🙂b'[::-1] }}
{{ 'abc'.startswith(('x', 'a')) }} {{ 'abc'.endswith('c') }} {{ 'ab1'.isalnum() }} {{ '12'.isdigit() }} {{ ''.isdigit() }} {{ 'aB'.isupper() }} {{ ' '.isspace() }}
{{ 'prefix-x'.removeprefix('prefix-') }} {{ '7'.zfill(3) }} {{ '-7'.zfill(4) }} {{ 'ab'.center(5, '*') }} {{ 'abc'.ljust(5) }}| {{ 'abc' | center(8) }}|
{% for k, v in deep.items() %}{{ k }}={{ v }};{% endfor %}
{% for m in messages %}{{ loop.index }}{{ loop.first }}{{ loop.last }}{{ loop.revindex0 }}{{ loop.length }}{{ loop.previtem is defined }}{{ loop.nextitem is defined }}{{ loop.cycle('a', 'b') }};{% endfor %}
{% for i in range(6) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}
{% for i in [1, 2, 3] %}{{ i }}{% if i == 2 %}!{% break %}{% endif %}-{% endfor %}{% for i in [1, 2] %}{{ i }}{% continue %}x{% endfor %}
{% for i in [] %}x{% else %}none{% endfor %}{% for i in [1] %}{% continue %}{% else %}skipped{% endfor %}{% for m in messages if m.role != 'user' %}{{ loop.index }}{{ m.role }}{% endfor %}
{% for i in [1, 2, 3] %}{{ seen }}{% if i == 1 %}{% set seen = 'first' %}{% endif %}{{ seen }},{% endfor %}{{ seen }}
{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = 9 %}{{ x }}{% endfor %}{{ x }}
{% set ns = namespace(n=0, on=false) %}{% for i in range(4) %}{% set ns.n = ns.n + i %}{% set ns.on = true %}{% endfor %}{{ ns.n }}{{ ns.on }}{{ ns.other }}
{% set d = dict(a=1, b=none) %}{{ d }}{{ d.a }}{{ d.get('c') }}{{ d.get('c', 'z') }}{{ 'b' in d }}{{ d | length }}{{ d.keys() }}{{ d.values() | list }}
{% macro m(a, b='B', c=none) %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, c=true) }}{{ m() }}
{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro outer() %}<{{ caller('x') }}>{% endmacro %}{% call(v) outer() %}{{ v }}{{ yes }}{% endcall %}
{% set y = 'global' %}{% macro m() %}{{ y }}{% endmacro %}{% for y in ['local'] %}{{ m() }}{% endfor %}
{% set block %}a{{ yes }}b{% endset %}[{{ block }}]{% filter upper %}text {{ no }}{% endfilter %}
{{ words | sort }} {{ words | sort(reverse=true) }} {{ words | sort(case_sensitive=true) }} {{ deep.list | sort(attribute='n') | map(attribute='n') | list }}
{{ words | unique | list }} {{ words | join('-') }} {{ mixed | join(',') }} {{ words | first }}{{ words | last }} {{ words | reverse | list }} {{ 'abc' | reverse }} {{ [3, 1, 2] | max }}{{ [3, 1, 2] | min }} {{ [1, 2.5] | sum }}
{{ deep.list | selectattr('on') | map(attribute='n') | join(',') }} {{ deep.list | rejectattr('on', 'equalto', true) | list }} {{ [1, 2, 3, 4] | select('even') | list }} {{ [1, none, 2] | reject('none') | list }} {{ messages | map(attribute='role') | map('upper') | list }}
{{ (messages | selectattr('role', 'eq', 'user') | list)[0].content }} {{ messages | selectattr('role', 'in', ['user', 'system']) | list | length }} {{ {'b': 1, 'a': 2} | dictsort }} {{ {'b': 1, 'a': 2} | items | list }}
{{ 3.7 | int }} {{ -3.7 | int }} {{ '12' | int }} {{ '3.9' | int }} {{ 'x' | int }} {{ 'x' | int(5) }} {{ nothing | int }} {{ '1.5' | float }} {{ 3 | float }} {{ true | int }} {{ -5 | abs }} {{ 2.5 | round }} {{ 3.5 | round }} {{ 2.675 | round(2) }} {{ 5 | round }} {{ 1.25 | round(1, 'floor') }}
{{ undefined_name | default('d') }}{{ '' | default('d') }}{{ '' | default('d', true) }}{{ none | default('d') }}{{ none | d('e', boolean=true) }}{{ undefined_name | length }}{{ undefined_name | upper }}|{{ nothing | upper }}{{ 5 | upper }}{{ yes | lower }}{{ undefined_name | join('x') }}|
{{ 'a\nb\n\nc' | indent }}|{{ 'a\nb' | indent(2, true) }}|{{ 'a\n\nb' | indent(width='> ', blank=true) }}
{{ yes is boolean }}{{ 1 is number }}{{ true is integer }}{{ 1.0 is float }}{{ 'a' is string }}{{ words is sequence }}{{ deep is mapping }}{{ words is iterable }}{{ 'a' is iterable }}{{ nothing is none }}{{ 'ab' is lower }}{{ 3 is odd }}{{ x is undefined }}{{ range is callable }}{{ yes is true }}{{ 1 is true }}{{ deep is sequence }}{{ whole is not string }}
{{ 1 == 1.0 }}{{ true == 1 }}{{ '1' == 1 }}{{ none == false }}{{ [1, 2] == [1, 2] }}{{ {'a': 1} == {'a': 1.0} }}{{ (1, 2) == [1, 2] }}{{ undefined_name == none }}{{ 'a' != 'b' }}{{ 'a' < 'b' }}{{ [1] < [1, 2] }}{{ 1 in [true] }}{{ 'k' in deep }}{{ 'name' in deep }}{{ 'ell' in 'hello' }}{{ 1 not in [1] }}{{ none in mixed }}
{{ 1 < 'a' }}
{{ 1 in 'abc' }}
{{ 1 if undefined_name }}|{{ 'y' if words else 'n' }}{{ 'y' if [] else 'n' }}{{ 0 or 'x' }}{{ '' and 'x' }}{{ none or false }}{{ not 0 }}{{ 'a' and 'b' }}
{{ words[1:] }}{{ words[:-1] }}{{ words[::-1] }}{{ words[-1] }}{{ 'hello'[1:3] }}{{ (1, 2, 3)[1:] }}{{ messages[1:] | length }}{{ words[10:] }}
{{ [1] + [2] }}{{ [0] * 3 }}{{ 'ab' * 2 }}{{ (1, 2) + (3, 4) }}{{ 2 * 3 + 4 }}{{ -whole }}{{ +1 }}{{ true + 1 }}{{ 10 - 2 - 3 }}
{{ deep['items'] }}{{ deep.name }}{{ deep.get('name') }}{{ deep['list'][0]['n'] }}{{ deep.list.0.n }}
{{ words.append('z') }}
{{ messages[1].tool_calls }}{{ messages[1]['tool_calls'] }}{{ messages[1].tool_calls is none }}{{ messages[1].get('tool_calls', 'z') }}{{ [none, 1] | first }}{{ mixed[1] }}
{{ deep.update({'a': 1}) }}
{% set words.x = 1 %}
{{ raise_exception('Only user and assistant') }}
{{ strftime_now('%Y-%m-%d %H:%M:%S %d %b %Y %B %a %A %y %j %I %p %-d %e %%') }}
{{ strftime_now('%F %T %D %R %h %n%t|') }}
{{ '<b>' | safe }}{{ '<b>' | e }}{{ ('<' | e) + '<' }}{{ ('<b>' | safe) ~ '<' }}
{{ range(3) }}{{ range(1, 7, 2) | list }}{{ range(3)[1] }}{{ range(3) | length }}{{ range(5, 1, -2) | join }}
{{ '\u00e9' }}{{ "a" "b" }}{{ 'x' if 1 == 1 and not 2 == 3 }}{#- gone -#}  {{- 'y' -}}  z
{% if yes %}   
  indented
{% endif %}
  {%- for m in messages -%}  {{ m.role }}  {%- endfor %}
end

{% set a, b = [1, 2] %}{{ b }}{{ a }}{% for (k, v) in [(1, 2)] %}{{ k }}{{ v }}{% endfor %}
{% generation %}reply{% endgeneration %}{%- generation -%} x {%- endgeneration -%}
{{ words | random_filter }}
{{ words is random_test }}
{{ undefined_function() }}
{{ words | tojson | length }}{{ 'a' | list }}{{ deep.list | map(attribute='m', default='-') | list }}{{ 'a b c' | wordcount }}{{ [1, [2]] | string }}{{ 'x'.upper().lower() }}
{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ m['content'] | trim }}{% endif %}{% endfor %}{% if 'a' in words and not 'q' in words %}!{% endif %}
{% for tool in tools %}{{ tool | tojson }}{{ '\n' }}{% for p, s in tool.function.parameters.properties.items() %}{{ p }}: {{ s.type }}{{ s.enum }}{{ ', ' if not loop.last }}{% endfor %}{% endfor %}
{% for m in messages %}{% if m.tool_calls is defined and m.tool_calls %}{% for c in m.tool_calls %}{{ '<tool_call>' ~ c.function.name ~ (c.function.arguments | tojson) ~ c.function.arguments }}{% endfor %}{% elif m.content is string %}{{ '<|' + m['role'] + '|>' + m['content'] }}{% endif %}{% endfor %}
""".strip("\n").split("\n")

# What Python computes and src/tokenizer/jinja refuses, for what it is or for want of a parser that takes it.
REFUSED = r"""
{{ words | map('upper') | string | length > 0 }}
{{ deep.items is callable }}{{ deep.items | string | length > 0 }}
{{ (1,) }}
{{ 1e3 }}
{% if whole is divisibleby 7 %}seven{% endif %}
{{ 1 < 2 < 3 }}
{{ 9007199254740993 + 1 }}
{{ words | batch(2) | list }}
{{ text | urlencode }}
{{ 'a' | pprint }}
{{ '%e' % 1.5 }}
{{ {1.5: 2} }}
{{ ('<b>' | safe).upper() }}
{{ 'a'.swapcase() }}
{{ whole.real }}
{{ cycler is defined }}
{% for i in [1] %}{{ loop.depth }}{% endfor %}
{% with x = 1 %}{{ x }}{% endwith %}
{% raw %}{{ x }}{% endraw %}
{{ strftime_now('%U') }}
""".strip("\n").split("\n")


def joined(lines):
    """A template that ends in white space or begins a block goes on in the next lines, up to an empty one."""
    templates = []
    for line in lines:
        if templates and templates[-1].startswith("{% if yes %}   ") and not templates[-1].endswith("\n\n"):
            templates[-1] += "\n" + line
            if line == "":
                templates[-1] += "\n"
            continue
        templates.append(line)
    return [template.removesuffix("\n\n") for template in templates if template]


def record(template):
    try:
        return {"template": template, "text": chat_template_utils._compile_jinja_template(template).render(**copy.deepcopy(VARIABLES))}
    except Exception as error:
        return {"template": template, "error": type(error).__name__}


class Fixed(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


chat_template_utils.datetime = Fixed
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--check", action="store_true")
cases = [record(template) for template in joined(TEMPLATES)]
refused = [record(template) for template in REFUSED]
written = json.dumps({"variables": VARIABLES, "cases": cases, "refused": refused}, indent=1, ensure_ascii=False) + "\n"
if parser.parse_args().check:
    assert OUTPUT.read_text() == written, f"{OUTPUT} is not what this writes"
else:
    OUTPUT.write_text(written)
