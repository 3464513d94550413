"""Write docs/operations.md from the table that the bench uses: python tools/operations_doc.py."""

from pathlib import Path

from keymote.bench.operations import render

PAGE = Path(__file__).parents[1] / "docs" / "operations.md"

if __name__ == "__main__":
    PAGE.write_text(render() + "\n", "utf-8")
