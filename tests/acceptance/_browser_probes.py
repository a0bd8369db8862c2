"""What is asked of a page in the browser: its charts, its focus, axe-core."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: What axe-core finds in the markup of Django's own admin: rule, and where it lies.
OF_DJANGO = {
    "label-title-only": "#changelist-search",  # the field of the list's search
    "link-name": "#changelist-filter",  # the choice of an empty text in a filter by values
}
_FOCUSABLE = "#ai-dashboard :is(a[href], button, input, select, summary, [tabindex='0'])"
_COLOURS = """(name) => {
  const canvas = document.querySelector(`[data-chart=${name}] canvas`);
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const seen = new Set();
  for (let at = 0; at < data.length; at += 4)
    if (data[at + 3] === 255) seen.add(`${data[at]} ${data[at + 1]} ${data[at + 2]}`);
  return seen.size;
}"""
_AXE = """axe.run(document, { resultTypes: ["violations"] }).then((found) =>
  found.violations.map(({ id, impact, nodes }) => ({
    id,
    impact,
    nodes: nodes.map((n) => ({ html: n.html, target: n.target.join(" "), why: n.failureSummary })),
  })),
)"""
_NUMBER_STOPS = """(focusable) => {
  const all = [...document.querySelectorAll(focusable)].filter((each) => each.checkVisibility());
  all.forEach((each, number) => { each.dataset.stop = number; });
  return all.length;
}"""
#: The number of the stop that has the focus, and its markup if one cannot see that it has.
_STOP = """() => {
  const here = document.activeElement;
  const style = getComputedStyle(here);
  const box = here.getBoundingClientRect();
  const isMarked = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
  const isIn = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
  return [here.dataset.stop ?? "", isMarked && isIn ? "" : here.outerHTML.slice(0, 90)];
}"""


@dataclass
class Result:
    """What was wrong, and what was left out."""

    faults: list[str] = field(default_factory=list)
    of_django: set[str] = field(default_factory=set)

    def expect(self, is_right: bool, fault: str) -> None:
        if not is_right:
            self.faults.append(fault)


def count_colours(page: Any, name: str) -> int:
    """How many colours a chart's canvas holds."""
    return int(page.evaluate(_COLOURS, name))


def run_axe(page: Any, source: str, result: Result, where: str) -> None:
    """Run axe-core in the page, past the policy that binds the page's own scripts."""
    tools = page.context.new_cdp_session(page)
    tools.send("Runtime.evaluate", {"expression": source})
    asked = {"expression": _AXE, "awaitPromise": True, "returnByValue": True}
    answer = tools.send("Runtime.evaluate", asked)
    if "exceptionDetails" in answer:
        raise SystemExit(f"axe-core failed: {answer['exceptionDetails']}")
    for rule in answer["result"]["value"]:
        name = f"{rule['id']} ({rule['impact']})"
        for node in rule["nodes"]:
            if _is_of_django(page, rule["id"], node["target"]):
                result.of_django.add(f"{name}, `{OF_DJANGO[rule['id']]}`")
            elif rule["impact"] in ("serious", "critical"):
                why = node["why"].replace("\n", " ")
                result.faults.append(f"axe on {where}: {name} [{node['target']}] {why}")


def _is_of_django(page: Any, rule: str, target: str) -> bool:
    if rule not in OF_DJANGO:
        return False
    script = "([target, place]) => Boolean(document.querySelector(target)?.closest(place))"
    return bool(page.evaluate(script, [target, OF_DJANGO[rule]]))


def walk(page: Any, result: Result, where: str) -> int:
    """Tab through the page; return how many stops of the dashboard were made."""
    wanted = page.evaluate(_NUMBER_STOPS, _FOCUSABLE)
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    seen: dict[str, str] = {}
    for _ in range(wanted * 3 + 80):  # a field for dates has several stops of its own
        page.keyboard.press("Tab")
        number, unseen = page.evaluate(_STOP)
        if number:
            seen.setdefault(number, unseen)
        elif len(seen) == wanted:
            break
    result.expect(len(seen) == wanted, f"{where}: {wanted - len(seen)} stops were not reached")
    for markup in filter(None, seen.values()):
        result.faults.append(f"{where}: no visible focus on {markup}")
    return len(seen)
