{%- import "rsc/command.rsc" as row -%}
{% for line in header %}# {{ line|safe }}
{% endfor -%}
# One block: pasted or imported, the first command that fails stops all that follow.
{
{% for step in steps %}
# {{ step.number }}. {{ step.title|safe }}
:do {
{%- match step.place_before %}
{%- when Some with (place) %}
  :local before [{{ place.menu|safe }}/find where{% for field in place.matching %} {{ field.key|safe }}=
    {%- if field.boolean %}{{ field.value|safe }}{% else %}"{{ field.value }}"{% endif %}{% endfor %}]
  :if ([:len $before] > 0) do={
    {% call row::command(step) %}{% endcall %} place-before=[:pick $before 0]
  } else={
    {% call row::command(step) %}{% endcall %}
  }
{%- when None %}
  {% call row::command(step) %}{% endcall %}
{%- endmatch %}
} on-error={
  :error "{{ step.failure }}"
}
{% endfor %}
:put "{{ done }}"
}
