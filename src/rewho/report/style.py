"""The style sheet of all pages: light or dark as the reader's system asks; no fonts or images from elsewhere.

Plots are drawn on white. Blending lets the card show through the white; in dark mode their colours are inverted and the
hues kept. One image serves both.
"""

Colour = tuple[int, int, int]
GREEN, RED, GREY, BLUE = (0, 135, 90), (201, 55, 44), (112, 112, 112), (31, 95, 191)  # RGB, of frames and badges


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


FRAMES = f"--hit: {_hex(GREEN)}; --miss: {_hex(RED)}; --aside: {_hex(GREY)}; --query: {_hex(BLUE)};"

STYLE_SHEET = (
    """
:root {
  color-scheme: light dark; """
    + FRAMES
    + """
  --page: #f5f6f8; --card: #ffffff; --ink: #1d2127; --soft: #59616c; --line: #dfe3e8; --accent: #1f5fbf;
}
@media (prefers-color-scheme: dark) {
  :root { --page: #121417; --card: #1b1e23; --ink: #e8eaed; --soft: #a4acb8; --line: #31363e; --accent: #7fb0ff; }
  img.plot { filter: invert(1) hue-rotate(180deg); mix-blend-mode: screen; }
}
@media (prefers-color-scheme: light) { img.plot { mix-blend-mode: multiply; } }
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", Roboto,
  "Helvetica Neue", Arial, sans-serif; -webkit-text-size-adjust: 100%;
}
main, body > header, body > footer { max-width: 1120px; margin: 0 auto; padding: 0 24px; }
body > header { padding-top: 48px; }
body > footer { padding-bottom: 64px; color: var(--soft); font-size: 14px; }
h1 { font-size: 32px; line-height: 1.2; letter-spacing: -.02em; margin: 0 0 6px; overflow-wrap: anywhere; }
h2 { font-size: 24px; line-height: 1.25; letter-spacing: -.01em; margin: 52px 0 4px; overflow-wrap: anywhere; }
h3 { font-size: 17px; margin: 0 0 4px; } .card > * + h3 { margin-top: 18px; }
h4 { font-size: 14px; font-weight: 600; margin: 0; overflow-wrap: anywhere; }
p { margin: 0 0 12px; max-width: 78ch; }
a { color: var(--accent); }
.lead, .soft, figcaption { color: var(--soft); }
.verdict { font-size: 20px; line-height: 1.4; max-width: 62ch; }
.lead { max-width: none; } .soft, figcaption { font-size: 14px; }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 20px; padding: 0; margin: 12px 0 0; }
.card, .scores li { background: var(--card); border: 1px solid var(--line); border-radius: 12px; }
.card { padding: 20px 22px; margin: 16px 0; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); gap: 16px; }
.pair > .card { margin: 0; }
.pair { margin: 16px 0; }
.scores {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(158px, 1fr)); gap: 12px; padding: 0; margin: 18px 0;
  list-style: none;
}
.scores li { padding: 14px 16px 16px; }
.scores .name { display: block; font-size: 14px; color: var(--soft); }
.scores .value {
  display: block; font-size: 32px; line-height: 1.25; font-weight: 650; letter-spacing: -.02em;
  font-variant-numeric: tabular-nums;
}
.scores .value small { font-size: 16px; font-weight: 400; color: var(--soft); letter-spacing: 0; }
.scores .interval { display: block; font-size: 13px; color: var(--soft); }
.scores .interval, .list li { font-variant-numeric: tabular-nums; }
.bar { display: block; width: 100%; height: 6px; margin: 8px 0 6px; }
.bar .track { fill: var(--line); } .bar .reach { fill: var(--accent); opacity: .45; }
.bar .span { fill: var(--accent); }
figure { margin: 0; } .sheet { width: 100%; border-radius: 8px; }
img { max-width: 100%; height: auto; display: block; }
img.plot { margin: 8px auto; }
.wide { overflow-x: auto; } .wide .sheet { min-width: 640px; }
.wide:focus-visible, summary:focus-visible, a:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
pre { margin: 0 0 12px; padding: 10px 12px; background: var(--page); border-radius: 8px; white-space: pre-wrap; }
.links { display: flex; flex-wrap: wrap; gap: 4px 20px; padding: 0; margin: 4px 0 8px; list-style: none;
  font-size: 14px; }
.wide + p { margin-top: 10px; }
.sides { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(460px, 100%), 1fr)); gap: 8px 24px; }
.heat { display: flex; gap: 10px; align-items: center; }
.heat .scale {
  width: 160px; height: 12px; border-radius: 4px; border: 1px solid var(--line);
  background: linear-gradient(90deg, transparent, #57106e99 30%, #bc3754cc 55%, #f98e09 80%, #fcffa4);
}
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 14px 5px 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
td, tbody th { overflow-wrap: anywhere; min-width: 13ch; } td.number { min-width: 0; }
thead th { font-weight: 600; } tbody th { font-weight: 400; }
td.number, th.number { text-align: right; padding-left: 14px; padding-right: 10px; white-space: nowrap; }
.card > p:last-child { margin-bottom: 0; }
details { margin-top: 12px; } summary { cursor: pointer; font-size: 14px; color: var(--accent); }
details[open] > summary { margin-bottom: 10px; }
code { font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 20px; margin: 0; font-size: 14px; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.key { display: flex; flex-wrap: wrap; gap: 4px 20px; padding: 0; margin: 4px 0 0; list-style: none; font-size: 14px;
  color: var(--soft); }
.badge {
  display: inline-block; width: 18px; height: 18px; line-height: 18px; text-align: center; color: #fff; font-size: 12px;
  font-weight: 700; border-radius: 4px; margin-right: 6px;
}
.hit .badge { background: var(--hit); } .miss .badge { background: var(--miss); }
.aside .badge { background: var(--aside); }
.row { padding: 16px 0 4px; border-top: 1px solid var(--line); margin-top: 14px; }
.row .who { font-size: 14px; color: var(--soft); margin: 0 0 8px; overflow-wrap: anywhere; }
.list { display: flex; flex-wrap: wrap; gap: 8px; padding: 0; margin: 0; list-style: none; }
.list li { position: relative; text-align: center; font-size: 12px; line-height: 1.7; color: var(--soft); width: 72px; }
.list img { border: 4px solid var(--query); border-radius: 5px; width: 72px; height: 136px; }
.list .hit img { border-color: var(--hit); } .list .miss img { border-color: var(--miss); }
.list .aside img { border-color: var(--aside); }
.list .query { margin-right: 12px; color: var(--ink); font-weight: 600; }
.list .badge { position: absolute; left: 0; top: 0; margin: 0; border-radius: 5px 0 4px 0; }
@media (max-width: 600px) {
  main, body > header, body > footer { padding-left: 14px; padding-right: 14px; }
  .card { padding: 16px 14px; } .scores { grid-template-columns: 1fr 1fr; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 8px; }
}
@media print {
  body { background: #fff; } .card, .scores li, .row { break-inside: avoid; }
  main, body > header, body > footer { max-width: none; }
}
"""
)
