"""One HTML file about a run, and one about a comparison of arms. Only `collect` reads files.

About a run, `page.render` turns `results.RunResults` into a page: `wording` says in words what the
numbers allow to be said; `tokens` cuts a rationale into coloured pieces; `view` and `summary` choose and
format; `figures` draws, in the style of `drawing`; `document` is what every page is, whatever it shows.

About a comparison, `comparison_page`, `comparison_markdown` and `comparison_rows` turn
`comparison_results.ComparisonResults` into a page, a Markdown text and plain rows:
`comparison_findings` has the statistics, `comparison_wording` the words, `comparison_figures` draws.
"""
