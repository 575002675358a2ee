"""How a report's page looks, on a screen by day and by night, and on paper."""

STYLE = """
:root { --ink: #1f2328; --muted: #59636e; --rule: #d1d9e0; --back: #ffffff; --soft: #f4f7f5; --own: #1a7f37;
  --free: #7d8894; --warn: #9a6700; --warnback: #fff8e5 }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --muted: #9da7b3; --rule: #2d343d;
  --back: #0d1117; --soft: #151b23; --own: #3fb950; --free: #6b7786; --warn: #e3b341; --warnback: #272115 } }
* { box-sizing: border-box }
body { margin: 0; background: var(--back); color: var(--ink); font: 15px/1.5 system-ui, sans-serif }
main { max-width: 940px; margin: 0 auto; padding: 32px 24px 64px }
header { border-bottom: 3px solid var(--own); padding-bottom: 8px }
h1 { font-size: 28px; margin: 0; line-height: 1.2 } h2 { font-size: 19px; margin: 0 0 10px }
h3 { font-size: 14px; margin: 12px 0 2px; color: var(--muted); font-weight: 600 }
header p, small, .legend { color: var(--muted); margin: 4px 0 }
section { margin-top: 34px }
.cards { display: grid; grid-template-columns: repeat(4, 1fr); gap: 12px }
.cards div { background: var(--soft); border-radius: 8px; padding: 12px 14px }
.cards p { margin: 0; font-size: 13px; color: var(--muted) }
.cards strong { display: block; font-size: 22px; line-height: 1.3; white-space: nowrap }
.cards small { font-size: 13px; margin: 0 }
.warn { background: var(--warnback); color: var(--warn); border-left: 4px solid var(--warn); padding: 8px 12px }
.apart { border: 1px dashed var(--free); border-radius: 8px; padding: 14px 16px }
table { border-collapse: collapse; width: 100%; margin: 10px 0; font-size: 14px; font-variant-numeric: tabular-nums }
th { text-align: right; color: var(--muted); font-weight: 600; border-bottom: 1px solid var(--free); padding: 4px 8px }
tbody th, tfoot th { color: inherit; font-weight: inherit; border-bottom-color: var(--rule) }
caption { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%) }
.wide { overflow-x: auto } .wide table { position: relative } .wide:focus-visible { outline: 2px solid var(--own) }
td { text-align: right; border-bottom: 1px solid var(--rule); padding: 4px 8px; white-space: nowrap }
th:first-child { text-align: left; padding-left: 0; white-space: normal; overflow-wrap: anywhere; min-width: 9em }
td:last-child:not(:nth-child(2)) { white-space: normal; min-width: 7em }
tfoot tr:last-child > * { font-weight: 700; border-bottom: 0 } tfoot tr:first-child > * { color: var(--muted) }
svg { width: 100%; height: auto; display: block } svg text { font: 12px system-ui, sans-serif; fill: var(--muted) }
.rule { stroke: var(--rule) } .axis { stroke: var(--free) } svg .p0 { fill: var(--own) } svg .p1 { fill: var(--free) }
.legend i { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin: 0 4px 0 12px }
.legend i:first-child { margin-left: 0 } i.p0 { background: var(--own) } i.p1 { background: var(--free) }
li { margin: 3px 0 } ul { padding-left: 20px; margin: 0 }
@media (max-width: 700px) { .cards { grid-template-columns: repeat(2, 1fr) }
  .wide svg { min-width: 620px } }
@media print { main { padding: 0; max-width: none } body { font-size: 12px } section, table, svg { break-inside: auto }
  .wide { overflow: visible }
  tr, .cards, svg, .apart { break-inside: avoid } h2, h3 { break-after: avoid }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact } }
"""
