"""Run folders as curves, tables, effects and one page. Reads files alone; knows no torch."""
