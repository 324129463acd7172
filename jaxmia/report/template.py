"""The page's frame, for Jinja2 with everything escaped."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{{ title }}: what the models give away</title>
<style>
:root { --ink: #1c2430; --soft: #5a6675; --line: #d9dfe6; --paper: #ffffff; --card: #f5f7f9; }
@media (prefers-color-scheme: dark) {
 :root { --ink: #e8edf2; --soft: #a3afbb; --line: #3a4551; --paper: #14191f; --card: #1d242c; }
}
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 4rem; background: var(--paper);
 color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1rem; color: var(--soft); font-weight: 600; margin: 0 0 .5rem; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; }
.verdict { font-size: 1.6rem; line-height: 1.3; margin: 0 0 .75rem; max-width: 46rem; }
p, li { max-width: 46rem; }
.soft { color: var(--soft); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .3rem .8rem .3rem 0; text-align: right; border-bottom: 1px solid var(--line);
 white-space: nowrap; }
th { white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; white-space: normal; overflow-wrap: anywhere;
 min-width: 10rem; }
td small { color: var(--soft); display: block; }
figure { margin: 1rem 0; background: #ffffff; border: 1px solid var(--line); padding: .5rem; }
figure img { display: block; max-width: 100%; height: auto; }
pre { background: var(--card); padding: .8rem; overflow-x: auto; font-size: .8rem; }
@media print { body { max-width: none; } pre { white-space: pre-wrap; } }
</style>
</head>
<body>
<main>
<h1>{{ title }}</h1>
{% if lead %}
{% set best = attacks[lead] %}
<p class="verdict">An attacker who may be wrong once in 1000 identifies
{{ percent(best.tpr_at_fpr["0.001"]) }} of the training examples.</p>
<p>By {{ short(lead) }}; 95 % interval {{ percent(best.intervals.tpr_at_fpr["0.001"][0]) }} to
{{ percent(best.intervals.tpr_at_fpr["0.001"][1]) }} had the examples been others, an estimate.
Chance would be 0.10 %. Attacked: {{ attacked }}. The attacker sees
what the model answers for an example and its label (black box), and has models of his own.</p>
{% else %}
<p class="verdict">No attack could be scored.</p>
{% endif %}
{% if share %}
<p>Half of all that is found lies on {{ percent(share, 1) }} of the examples.</p>
{% endif %}

{% for name, alt, source in figures if source %}
<figure><img src="{{ source }}" alt="{{ alt }}"></figure>
{% endfor %}

<h2>All attacks</h2>
<div class="wide" tabindex="0" role="region" aria-label="Table of all attacks">
<table>
<thead><tr><th scope="col">attack</th><th scope="col">AUC</th><th scope="col">balanced accuracy</th>
{% for level in levels %}
<th scope="col">TPR at {{ "%g" | format(100 * (level | float)) }} % FPR</th>{% endfor %}
<th scope="col">TPR at a threshold set on shadows for 0.1 %</th></tr></thead>
<tbody>
{% for name, a in attacks.items() %}
<tr><td>{{ short(name) }}</td>
{% if a.auc is none %}<td colspan="{{ levels | length + 3 }}">nothing could be scored</td>{% else %}
<td>{{ "%.3f" | format(a.auc) }}
<small>{{ "%.3f" | format(a.intervals.auc[0]) }}–{{ "%.3f" | format(a.intervals.auc[1])
 }}</small></td>
<td>{{ "%.3f" | format(a.balanced_accuracy) }}</td>
{% for level in levels %}
<td>{{ percent(a.tpr_at_fpr[level]) }}
{% if a.targets and a.targets.count > 1 %}
<small>{{ percent(a.targets.tpr_at_fpr[level][0], 1) }} ± {{
 "%.1f" | format(100 * a.targets.tpr_at_fpr[level][1]) }}</small>{% endif %}</td>
{% endfor %}
{% set set = (a.at_shadow_threshold or {}).get("0.001") if a.at_shadow_threshold is defined %}
<td>{% if set %}{{ percent(set.tpr) }}<small>at {{ percent(set.fpr) }} FPR</small>
{% else %}–{% endif %}</td>
{% endif %}</tr>
{% endfor %}
</tbody>
</table>
</div>
<p class="soft">AUC with its 95 % interval (a bootstrap over examples); beneath
each rate its mean ± standard deviation over targets. {{ summary.models }} targets,
{{ summary.examples }} examples,
{{ summary.queries }} view{{ "s" if summary.queries != 1 }} of each.</p>
{% if remarks %}
<ul class="soft">{% for line in remarks %}<li>{{ line }}</li>{% endfor %}</ul>{% endif %}

{% if exposed %}
<h2>The most exposed examples</h2>
<p>In how many of the models that were trained on an example {{ short(lead) }} finds it, at the
threshold of 0.1 % FPR. An example is named by its row in the pool.</p>
<div class="wide" tabindex="0" role="region" aria-label="Most exposed examples">
<table>
<thead><tr><th scope="col">example</th><th scope="col">label</th><th scope="col">found in</th>
<th scope="col">of</th><th scope="col">share</th></tr></thead>
<tbody>
{% for e in exposed %}
<tr><td>{{ e.example }}</td><td>{{ "–" if e.label is none else e.label }}</td><td>{{ e.found }}</td>
<td>{{ e.models }}</td><td>{{ percent(e.found / e.models, 0) }}</td></tr>
{% endfor %}
</tbody>
</table>
</div>
{% endif %}

{% if summary.experiment is defined %}
<h2>How it was made</h2>
<p>{% if summary.train_accuracy is not none %}Training accuracy
{{ "%.3f" | format(summary.train_accuracy) }}{% endif %}{% if summary.test_accuracy is not none %},
test accuracy {{ "%.3f" | format(summary.test_accuracy) }}{% endif %}.
{% if summary.models_per_hour %}{{ "{:,.0f}".format(summary.models_per_hour) }} models an hour on
{{ summary.experiment.device }}.{% endif %}</p>
<pre>{{ details }}</pre>
{% endif %}
</main>
</body>
</html>
"""
