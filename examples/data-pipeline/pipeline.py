"""The steps of the pipeline: plain functions of paths and values. They know nothing of doit."""

import csv
import shutil
from collections import defaultdict
from pathlib import Path
from statistics import mean


def read_rows(path):
    """Return the rows of a CSV file with a header, as dictionaries."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_rows(path, rows, columns):
    """Write these columns to a CSV file with a header; make its folder where there is none."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def millimetres(text):
    """Return a measurement as a number, or None where the gauge delivered nothing sensible."""
    try:
        amount = float(text)
    except ValueError:
        return None
    return amount if amount >= 0 else None


def tidy(source, target):
    """Copy the rows with a sensible measurement; return how many were kept and dropped."""
    rows = read_rows(source)
    good = [row for row in rows if millimetres(row["mm"]) is not None]
    write_rows(target, good, ["date", "station", "mm"])
    return {"kept": len(good), "dropped": len(rows) - len(good)}


def split(source, folder):
    """Write one CSV file per station into `folder`; return the number of rows of each."""
    stations = defaultdict(list)
    for row in read_rows(source):
        stations[row["station"]].append(row)
    # A station that is gone from the data must be gone from the folder.
    shutil.rmtree(folder, ignore_errors=True)
    for station, rows in stations.items():
        write_rows(f"{folder}/{station.lower().replace(' ', '-')}.csv", rows, ["date", "mm"])
    return {"stations": {station: len(rows) for station, rows in sorted(stations.items())}}


def summarise(source, target, wet_mm):
    """Write one line per station and month; return the wettest day of all.

    A day is wet when at least `wet_mm` millimetres fell.
    """
    months = defaultdict(list)
    rows = read_rows(source)
    for row in rows:
        months[row["station"], row["date"][:7]].append(float(row["mm"]))
    summary = [
        {
            "station": station,
            "month": month,
            "total_mm": f"{sum(amounts):.1f}",
            "mean_mm": f"{mean(amounts):.2f}",
            "wet_days": sum(amount >= wet_mm for amount in amounts),
        }
        for (station, month), amounts in sorted(months.items())
    ]
    write_rows(target, summary, ["station", "month", "total_mm", "mean_mm", "wet_days"])
    wettest = max(rows, key=lambda row: float(row["mm"]))
    return {"wettest": f"{wettest['date']} at {wettest['station']}: {wettest['mm']} mm"}


def report(summary, target, kept, dropped, stations, wettest):
    """Write the report in Markdown, and print its first lines."""
    head = [
        "# Rainfall",
        "",
        f"{kept} measurements of {len(stations)} stations; {dropped} dropped as unreadable.",
        f"Wettest day: {wettest}.",
    ]
    table = ["", "| station | month | total (mm) | wet days |", "| --- | --- | ---: | ---: |"]
    table += [
        f"| {row['station']} | {row['month']} | {row['total_mm']} | {row['wet_days']} |"
        for row in read_rows(summary)
    ]
    Path(target).write_text("\n".join(head + table) + "\n", encoding="utf-8")
    print("\n".join(head[2:]))
