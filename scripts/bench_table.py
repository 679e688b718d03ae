#!/usr/bin/env python3
"""Prints target/bench/report.json as the tables of docs/benchmarks.md."""

import json
import pathlib
import sys

SHORTER = [("limit: ", ""), ("tonic ", ""), (", one connection", ""), (", messages", ""), (" over Redis", "")]


def shorter(name):
    for long, short in SHORTER:
        name = name.replace(long, short)
    return name


def number(value):
    return f"{value:,.0f}" if value else ""


def wanted(row):
    text = row.get("expected", "").replace("<=", "≤").replace(">=", "≥").replace(" us", " µs")
    return f"**{text}**" if row.get("reached") is False else text


def beside(row):
    if "limit" not in row:
        return ""
    limit = row["limit"]
    median = "p50 of " if row["expected"].startswith("p50") else ""
    text = f"{row['ratio']:.2f} × {median}{shorter(limit['name'])} at {limit['in_flight']}"
    if "beside" in row:
        text += f"; {row['beside']['ratio']:.2f} × {shorter(row['beside']['name'])}"
    return text


def rates(rows):
    print("| row | in flight | per second | p50 µs | p99 µs | beside its limit | wanted |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        if "unit" in row:
            print(f"| {row['name']} | | {row['value']:,.0f} {row['unit']} | | | | {wanted(row)} |")
            continue
        figures = " | ".join(number(row[key]) for key in ("per_second", "p50_us", "p99_us"))
        print(f"| {row['name']} | {row['in_flight']} | {figures} | {beside(row)} | {wanted(row)} |")


def processor(rows):
    print("| row | in flight | load | service | Redis | idle | scripts | a script | its commands |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        if "processor_us" not in row:
            continue
        used = dict(row["processor_us"])
        load, redis = used.pop("load", 0), used.pop("redis", 0)
        # Only one of the services has anything to do; others are idle but for their upkeep.
        service = max(used.values(), default=0)
        times = " | ".join(f"{time:.1f}" if time else "" for time in (load, service, redis))
        scripts = " | | "
        if row["scripts"] >= 0.001:
            us = [row["script_us"], row["script_commands_us"]]
            scripts = " | ".join([f"{row['scripts']:.3f}", *(f"{time:.1f}" for time in us)])
        idle = f"{row['idle'] * 100:.0f} %"
        print(f"| {row['name']} | {row['in_flight']} | {times} | {idle} | {scripts} |")


report = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "target/bench/report.json")
found = json.loads(report.read_text())
rates(found)
print()
processor(found)
