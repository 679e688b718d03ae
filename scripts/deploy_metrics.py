"""What scripts/deploy-check.sh checks about alerts and dashboards: they name only metrics and labels of
docs/metrics.md, each metric there is shown or watched somewhere, and each alert is explained and tested."""

import json
import re
import sys
from pathlib import Path

import yaml

# Told by Prometheus itself, of every target.
OWN = {"up": {"job", "instance"}}
COMMON = {"job", "instance", "namespace", "pod"}
WORDS = {"by", "without", "on", "ignoring", "group_left", "group_right", "and", "or", "unless", "offset", "bool"}

problems = []


def problem(text):
    problems.append(text)


def documented():
    """name → (type, labels), from the tables of docs/metrics.md."""
    found = {}
    for line in Path("docs/metrics.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `") and len(cells) == 5:
            labels = {label.strip() for label in cells[2].split(",") if label.strip()}
            if cells[1] not in ("counter", "gauge", "histogram"):
                problem(f"docs/metrics.md: {cells[0]} is of no known type: {cells[1]}")
            if (cells[1] == "counter") != cells[0].strip("`").endswith("_total"):
                problem(f"docs/metrics.md: {cells[0]} is named unlike its type")
            found[cells[0].strip("`")] = (cells[1], labels)
    return found


def parts(expression):
    """Metrics with the labels that they are selected by, and the labels that are grouped by."""
    text = re.sub(r'"(?:[^"\\]|\\.)*"', '""', expression)
    grouped = set()
    for labels in re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", text):
        grouped |= {label.strip() for label in labels.split(",") if label.strip()}
    text = re.sub(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", text)
    text = re.sub(r"\[[^\]]*\]", " ", text)
    text = re.sub(r"\boffset\s+\w+", " ", text)
    metrics = {}
    for name, selector in re.findall(r"([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}", text):
        metrics.setdefault(name, set()).update(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
    # What is left: names that are selected whole, words of the language, and functions before a parenthesis.
    for name in re.findall(r"(?<![\w:.])([a-zA-Z_:][\w:]*)(?![\w:])(?!\s*\()", re.sub(r"\{[^}]*\}", " ", text)):
        if name not in WORDS:
            metrics.setdefault(name, set())
    return metrics, grouped


def base_of(name, known):
    """The documented name of what a query names."""
    if name in known or name in OWN:
        return name
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    return base if base != name and known.get(base, ("",))[0] == "histogram" else None


def check(where, expression, known, used):
    metrics, grouped = parts(expression)
    if not metrics:
        problem(f"{where}: names no metric: {expression}")
    allowed = set(COMMON) | {"le"}
    for name, selected in metrics.items():
        base = base_of(name, known)
        if base is None:
            problem(f"{where}: {name} is not in docs/metrics.md")
            continue
        if base == name and known.get(name, ("",))[0] == "histogram":
            problem(f"{where}: {name} is a histogram: name its _bucket, _sum or _count")
        used.add(base)
        labels = OWN.get(base) or known[base][1]
        allowed |= labels
        for label in selected - labels - COMMON - ({"le"} if name.endswith("_bucket") else set()):
            problem(f"{where}: {name} has no label {label}")
    for label in grouped - allowed:
        problem(f"{where}: no metric here has the label {label}")


def rules_of(deploy):
    groups = yaml.safe_load((deploy / "prometheus/rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def anchors(page):
    """The anchors of a page's headings, as they are made of them."""
    headings = re.findall(r"^#+ (.+)$", Path(page).read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def alerts(deploy, known, used):
    tested = {}
    for test in yaml.safe_load((deploy / "prometheus/rules_test.yml").read_text())["tests"]:
        for case in test["alert_rule_test"]:
            tested.setdefault(case["alertname"], set()).add(bool(case["exp_alerts"]))
    names = set()
    for rule in rules_of(deploy):
        name, notes = rule["alert"], rule["annotations"]
        names.add(name)
        check(f"alert {name}", rule["expr"], known, used)
        if rule["labels"].get("severity") not in ("warning", "critical") or not notes.get("summary"):
            problem(f"alert {name} has no severity or no summary")
        page, _, anchor = notes.get("runbook", "").partition("#")
        if anchor != name.lower() or not Path(page).is_file() or anchor not in anchors(page):
            problem(f"alert {name}: {notes.get('runbook')} is no place in the docs")
        if True not in tested.get(name, ()):
            problem(f"alert {name}: no test shows that it fires")
        if False not in tested.get(name, ()):
            problem(f"alert {name}: no test shows that it does not fire")
    explained = set(re.findall(r"^#### (\w+)$", Path("docs/operate.md").read_text(), re.MULTILINE))
    for name in explained - names:
        problem(f"docs/operate.md explains {name}, which is no alert")


def dashboards(deploy, known, used, queries):
    """Checks every dashboard, and writes their queries as rules, for promtool to parse."""
    rules, uids = [], set()
    files = sorted((deploy / "grafana/dashboards").glob("*.json"))
    for path in files:
        board = json.loads(path.read_text())
        where = path.name
        if board["uid"] in uids:
            problem(f"{where}: its uid is another's")
        uids.add(board["uid"])
        ids = [panel["id"] for panel in board["panels"]]
        if len(set(ids)) != len(ids):
            problem(f"{where}: two panels have one id")
        variables = {variable["name"]: variable for variable in board["templating"]["list"]}
        expressions = []
        for panel in board["panels"]:
            targets = [target["expr"] for target in panel.get("targets", [])]
            if panel["type"] != "row" and not targets:
                problem(f"{where}: {panel['title']} has no query")
            expressions += [(panel["title"], expression) for expression in targets]
            source = panel.get("datasource", {}).get("uid", "${datasource}")
            if source != "${datasource}":
                problem(f"{where}: {panel['title']} is bound to one data source: {source}")
        for name, variable in variables.items():
            if variable["type"] == "query":
                query = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"])
                expressions.append((f"${name}", f"sum by ({query[2]}) ({query[1]})"))
        for title, expression in expressions:
            for name in re.findall(r"\$(\w+)", expression):
                if name not in variables and name != "__rate_interval":
                    problem(f"{where}: {title}: ${name} is not a variable")
            expression = re.sub(r"\$__rate_interval", "5m", expression)
            check(f"{where}: {title}", expression, known, used)
            rules.append({"record": f"query:{len(rules)}", "expr": expression})
    if len(files) < 4:
        problem(f"only {len(files)} dashboards")
    Path(queries).write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))


def main():
    what, deploy = sys.argv[1], Path(sys.argv[2])
    known, used = documented(), set()
    if len(known) < 40:
        problem(f"docs/metrics.md has only {len(known)} metrics")
    if what == "alerts":
        alerts(deploy, known, used)
    else:
        dashboards(deploy, known, used, sys.argv[3])
        for rule in rules_of(deploy):
            check(f"alert {rule['alert']}", rule["expr"], known, used)
        for name in sorted(set(known) - used):
            problem(f"{name} is in docs/metrics.md, and on no dashboard and in no alert")
    for text in problems:
        print(f"error: {text}", file=sys.stderr)
    sys.exit(bool(problems))


main()
