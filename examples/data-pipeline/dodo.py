"""From a CSV file to a report: Python actions, values passed between tasks, a folder as output."""

import shutil

import pipeline
from doit.tools import config_changed

RAW = "data/rainfall.csv"
TIDY = "build/tidy.csv"
STATIONS = "build/stations"
SUMMARY = "build/summary.csv"
REPORT = "build/report.md"

# A day counts as wet from here on. Change it, and only `summary` and what needs it runs.
WET_MM = 1.0


def task_tidy():
    """drop the measurements that are not numbers"""
    return {
        "file_dep": [RAW],
        "targets": [TIDY],
        "actions": [(pipeline.tidy, [RAW, TIDY])],
        "clean": True,
    }


def task_split():
    """write one file per station; the output is the whole folder, whatever is in it"""
    return {
        "file_dep": [TIDY],
        "targets": [STATIONS],
        "actions": [(pipeline.split, [TIDY, STATIONS])],
        "clean": [(shutil.rmtree, [STATIONS], {"ignore_errors": True})],
    }


def task_summary():
    """totals and wet days of each month"""
    return {
        "file_dep": [TIDY],
        "targets": [SUMMARY],
        "actions": [(pipeline.summarise, [TIDY, SUMMARY, WET_MM])],
        "uptodate": [config_changed({"wet_mm": WET_MM})],
        "clean": True,
    }


def task_document():
    """the report; its numbers are values that the tasks before it returned"""
    return {
        "file_dep": [SUMMARY],
        "targets": [REPORT],
        "actions": [(pipeline.report, [SUMMARY, REPORT])],
        "getargs": {
            "kept": ("tidy", "kept"),
            "dropped": ("tidy", "dropped"),
            "stations": ("split", "stations"),
            "wettest": ("summary", "wettest"),
        },
        "verbosity": 2,
        "clean": True,
    }
