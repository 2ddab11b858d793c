"""One HTML file about a run: `page.render` turns `results.RunResults` into a self-contained page.

`results` holds everything shown as plain data; `wording` says in words what the numbers allow to be
said; `tokens` cuts a rationale into coloured pieces; `view` and `summary` choose and format;
`figures` draws, in the style of `drawing`; `page` puts it together. Nothing here reads files.
"""
