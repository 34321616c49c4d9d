{%- macro command(step) -%}
{{ step.menu|safe }}/{{ step.verb|safe }}{% for (key, value) in step.args %} {{ key|safe }}="{{ value.reveal() }}"{% endfor %}
{%- endmacro -%}
